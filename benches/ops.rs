//! `cargo bench`: the ladder of `lal bench` through criterion, which keeps the figures of earlier runs to
//! compare with. `LAL_DEVICE=gpu` measures the adapter even where it is a software one.

use std::time::Duration;

use criterion::{BenchmarkId, Criterion, SamplingMode, Throughput};
use lal::engine::device::cpu::Cpu;
use lal::engine::device::gpu::{Gpu, GpuOptions};
use lal::profile::bench::{PRESETS, ladder};
use lal::profile::roofline::Roofline;
use lal::profile::subject::Subject;

fn device() -> Box<dyn Subject> {
    let wanted = std::env::var("LAL_DEVICE").unwrap_or_else(|_| "auto".into());
    let gpu = if wanted == "cpu" { None } else { Gpu::open(GpuOptions::default()).ok() };
    match gpu {
        Some(gpu) if wanted == "gpu" || !gpu.software() => Box::new(gpu),
        _ => Box::new(Cpu::<f32>::default()),
    }
}

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(50))
        .measurement_time(Duration::from_millis(200))
        .without_plots()
        .configure_from_args();
    let mut device = device();
    let device = device.as_mut();
    let roofline = Roofline::measure(device).unwrap_or_else(|e| panic!("{e}"));
    println!("{}: {:.0} GFLOP/s, {:.1} GB/s", device.describe(), roofline.gflops, roofline.gbps);
    let presets = if device.slow() { &PRESETS[..1] } else { &PRESETS };
    for rung in ladder(presets, None).unwrap_or_else(|e| panic!("{e}")) {
        let mut group = criterion.benchmark_group(rung.op);
        group.sample_size(10).sampling_mode(SamplingMode::Flat);
        group.throughput(Throughput::Bytes(rung.cost.bytes));
        for variant in rung.variants(device) {
            group.bench_function(BenchmarkId::new(variant, &rung.shape), |bencher| {
                let prepared = rung.prepare(device, Some(variant)).unwrap_or_else(|e| panic!("{e}"));
                bencher.iter_custom(|times| {
                    let (mut us, mut done) = (0.0, 0);
                    while done < times {
                        let timeline = prepared.run(device).unwrap_or_else(|e| panic!("{e}"));
                        let all = timeline.nodes_us();
                        let taken = all.len().min((times - done) as usize);
                        us += all[..taken].iter().sum::<f64>();
                        done += taken as u64;
                    }
                    Duration::from_secs_f64(us / 1e6)
                });
            });
        }
        group.finish();
    }
    criterion.final_summary();
}
