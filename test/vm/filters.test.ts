import assert from 'node:assert/strict';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { LoadCounts } from '../lab/support/fuzz/filter-fuzz.ts';
import { SEED } from '../support/seed.ts';
import { imageOrSkip } from './machine/kernel-image.ts';
import { KERNELS } from './machine/kernels.ts';
import { runInMachine } from './machine/machine.ts';
import { NEEDED_HERE, NEEDED_TO_BOOT, needs } from './machine/needed.ts';
import { writePlainScript } from './machine/plain-script.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const SKIP = needs([...NEEDED_HERE, ...NEEDED_TO_BOOT]);

/** How many distinct programs, and how long at most: emulation is slow. The seed and both can be given for a longer run. */
const PROGRAMS = Number(process.env['KTRACE_TEST_FILTER_PROGRAMS'] ?? 1000);
const LIMIT_MS = Number(process.env['KTRACE_TEST_FILTER_MS'] ?? 10_000);

for (const kernel of KERNELS) {
  describe(`filters in the kernel on ${kernel.name}`, { skip: SKIP }, () => {
    it(`are taken by the verifier and decide as user space does (seed ${SEED})`, async (t) => {
      const folder = join(ROOT, `build/vm-filters.${process.pid}`);
      t.after(() => rmSync(folder, { recursive: true, force: true }));
      const image = await imageOrSkip(kernel, (why) => t.skip(why));
      if (!image) return;
      const addon = join(ROOT, 'native/build/Release/ktrace_native.node');
      const script = writePlainScript(ROOT, 'test/vm/inside/filters.ts', folder);
      const words = [join(ROOT, 'build/bpf/ktrace.bpf.o'), SEED, PROGRAMS, LIMIT_MS];
      const lines: string[] = [];
      const code = await runInMachine(image, {
        command: ['env', `KTRACE_ADDON=${addon}`, process.execPath, script, ...words].map((word) => `'${word}'`).join(' '),
        onLine: (line) => lines.push(line),
        limitMs: 100_000 + LIMIT_MS,
      });
      assert.equal(code, 0, lines.join('\n'));
      t.diagnostic(lines.at(-1) ?? '');
      const { loaded, compared, taken } = JSON.parse(lines.at(-1) ?? '') as LoadCounts;
      assert.ok(loaded > 50 && compared > loaded && taken > 0 && taken < compared, lines.at(-1));
    });
  });
}
