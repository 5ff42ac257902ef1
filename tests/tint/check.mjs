// Compiles every .wgsl file below a folder by Tint, the compiler of Chrome: node check.mjs FOLDER
// Dawn's null backend makes modules and pipelines without a driver.
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { create, globals } from 'webgpu';

Object.assign(globalThis, globals);

const [folder] = process.argv.slice(2);
const files = readdirSync(folder, { recursive: true }).filter((name) => name.endsWith('.wgsl')).sort();
// Kept for as long as the process lives: collected, it takes the device along.
globalThis.gpu = create(['backend=null']);
const adapter = await gpu.requestAdapter();
const requiredLimits = {};
for (const limit in adapter.limits) {
    requiredLimits[limit] = adapter.limits[limit];
}
const device = await adapter.requestDevice({ requiredFeatures: [...adapter.features], requiredLimits });

async function faults(code) {
    device.pushErrorScope('validation');
    const module = device.createShaderModule({ code });
    const { messages } = await module.getCompilationInfo();
    const found = messages
        .filter((message) => message.type === 'error')
        .map(({ lineNum, linePos, message }) => `${lineNum}:${linePos} ${message}`);
    if (found.length === 0) {
        device.createComputePipeline({ layout: 'auto', compute: { module, entryPoint: 'main' } });
    }
    const error = await device.popErrorScope();
    // The null backend has no more workgroup memory than WebGPU's least; some shaders are for devices with more.
    const isTooLarge = error?.message.includes('total use of workgroup storage');
    return found.length === 0 && error && !isTooLarge ? [error.message] : found;
}

let refused = 0;
let others = 0;
for (const name of files) {
    let code = readFileSync(join(folder, name), 'utf8');
    // Words of naga's own are none of the language.
    if (code.includes('enable wgpu_')) {
        others += 1;
        continue;
    }
    // naga has subgroups without being asked, and does not let them be asked for.
    if (code.includes('@builtin(subgroup_')) {
        code = `enable subgroups;\n${code}`;
    }
    const found = await faults(code);
    found.forEach((fault) => console.error(`${name}:${fault}`));
    refused += found.length > 0;
}
const all = files.length - others;
console.log(`Tint takes ${all - refused} of ${all} shaders; ${others} more are written in naga's own words.`);
// Dawn keeps the process alive.
process.exit(refused > 0 || all === 0 ? 1 : 0);
