import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { fingerprint, isStamped, writeStamp } from './fingerprint.mjs';
import { command, step } from './step.mjs';

const ADDON = 'native/build/Release/ktrace_native.node';

/** Builds the addon for the Node of node_modules when its sources, or that Node, changed. */
export async function buildAddon(root) {
  const stamp = join(root, 'build/.addon-sources');
  const value = await fingerprint(root, [
    'native/src',
    'native/binding.gyp',
    'native/build.sh',
    'bpf/event.h',
    'package-lock.json',
  ]);
  if (existsSync(join(root, ADDON)) && (await isStamped(stamp, value))) return;
  await step('building the addon', async () => {
    await command(join(root, 'native/build.sh'), [], { cwd: root });
    await writeStamp(stamp, value);
  });
}
