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
    return found.length === 0 && error ? [error.message] : found;
}

let refused = 0;
for (const name of files) {
    const found = await faults(readFileSync(join(folder, name), 'utf8'));
    found.forEach((fault) => console.error(`${name}:${fault}`));
    refused += found.length > 0;
}
console.log(`Tint takes ${files.length - refused} of ${files.length} shaders.`);
// Dawn keeps the process alive.
process.exit(refused > 0 || files.length === 0 ? 1 : 0);
