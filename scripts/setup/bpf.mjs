import { existsSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { fingerprint, isStamped, writeStamp } from './fingerprint.mjs';
import { command, step } from './step.mjs';

/** Builds `build/bpf/*.bpf.o` when the sources changed. */
export async function buildBpf(root) {
  const out = join(root, 'build/bpf');
  const stamp = join(out, '.sources');
  const [value, sources] = await Promise.all([fingerprint(root, ['bpf']), readdir(join(root, 'bpf'))]);
  const objects = sources.filter((name) => name.endsWith('.bpf.c')).map((name) => join(out, `${name.slice(0, -2)}.o`));
  if (objects.every((object) => existsSync(object)) && (await isStamped(stamp, value))) return;
  await step('building BPF objects', async () => {
    await command(join(root, 'bpf/build.sh'), [out]);
    await writeStamp(stamp, value);
  });
}
