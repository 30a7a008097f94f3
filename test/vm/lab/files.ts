import assert from 'node:assert/strict';
import { mkdirSync, rmSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { imageOrSkip } from '../machine/kernel-image.ts';
import { KERNELS } from '../machine/kernels.ts';
import { runInMachine } from '../machine/machine.ts';
import { NEEDED_HERE, NEEDED_TO_BOOT, NOT_ASKED_FOR, needs } from '../machine/needed.ts';
import { writePlainScript } from '../machine/plain-script.ts';

const ROOT = fileURLToPath(new URL('../../..', import.meta.url));
const SKIP = NOT_ASKED_FOR || needs([...NEEDED_HERE, ...NEEDED_TO_BOOT]);
/** A test's result as TAP has it, one level deep: those on the level above are suites. */
const RESULT = /^ {4}(not )?ok \d+ - (.*?)(?: # SKIP ?(.*))?$/;
/** What this machine's kernel has built in. */
const MODULES = ['veth', 'nf_conntrack', 'br_netfilter', 'vxlan'];

/**
 * Runs files of the lab layer on every kernel, each of their tests as one of ours. They are those that need the kernel alone, no API server, and no more
 * than one machine can run in half of its 5 minutes. To be called once in a file: node:test gives a file no more time than a test. One file after the
 * other: two at a time took two thirds of the time, but a packet stays in a busy machine for longer than the 20 ms that its record waits.
 * @param files names in test/lab/, without `.test.ts`
 */
export function proveLabFiles(files: readonly string[]): void {
  for (const kernel of KERNELS) {
    describe(`the lab's own tests on ${kernel.name}`, { skip: SKIP }, () => {
      it(`of ${files.join(', ')} pass as they do on the kernel of this machine`, async (t) => {
        const folder = join(ROOT, `build/vm-lab.${process.pid}`);
        t.after(() => rmSync(folder, { recursive: true, force: true }));
        const image = await imageOrSkip(kernel, (why) => t.skip(why));
        if (!image) return;
        const lines: string[] = [];
        const command = commandIn(folder, files);
        const code = await runInMachine(image, { command, onLine: (line) => lines.push(line), limitMs: 280_000 });
        const results = lines.flatMap((line) => {
          const [, isBad, title, reason] = RESULT.exec(line) ?? [];
          return title === undefined ? [] : [{ isBad: isBad !== undefined, title, reason }];
        });
        assert.ok(results.length >= files.length, lines.join('\n'));
        for (const { isBad, title, reason } of results) {
          await t.test(title, (each) => {
            if (reason !== undefined) return each.skip(reason);
            assert.ok(!isBad, lines.join('\n'));
          });
        }
        assert.equal(code, 0, lines.join('\n'));
      });
    });
  }
}

/** The files as plain JavaScript, in a folder that has what they look for beside them. */
function commandIn(folder: string, files: readonly string[]): string {
  mkdirSync(join(folder, 'test/native'), { recursive: true });
  symlinkSync(join(ROOT, 'build'), join(folder, 'build'));
  symlinkSync(join(ROOT, 'test/native/bpf'), join(folder, 'test/native/bpf'));
  const scripts = files.map((name) => writePlainScript(ROOT, `test/lab/${name}.test.ts`, folder));
  // Those that are started, not imported.
  for (const name of ['node-process', 'kernel']) writePlainScript(ROOT, `test/lab/support/${name}.ts`, folder);
  const addon = join(ROOT, 'native/build/Release/ktrace_native.node');
  return [
    ...MODULES.map((module) => `modprobe ${module};`),
    ...['env', `KTRACE_ADDON='${addon}'`, `'${process.execPath}'`, '--test', '--test-concurrency=1', '--test-reporter=tap'],
    ...scripts.map((script) => `'${script}'`),
  ].join(' ');
}
