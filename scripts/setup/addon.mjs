import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { fingerprint, isStamped, writeStamp } from './fingerprint.mjs';
import { command, step } from './step.mjs';

const BUILT = ['ktrace_native.node', 'ktrace-healthz'].map((name) => `native/build/Release/${name}`);

/** Builds the addon for the Node of node_modules when its sources, or that Node, changed. */
export async function buildAddon(root) {
  const stamp = join(root, 'build/.addon-sources');
  const value = await fingerprint(root, [
    'native/src',
    'native/binding.gyp',
    'native/build.sh',
    'bpf/base/event.h',
    'package-lock.json',
  ]);
  if (BUILT.every((file) => existsSync(join(root, file))) && (await isStamped(stamp, value))) return;
  await step('building the addon', async () => {
    await command(join(root, 'native/build.sh'), [], { cwd: root });
    await writeStamp(stamp, value);
  });
}
