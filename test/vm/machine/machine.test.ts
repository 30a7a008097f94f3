import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { describe, it } from 'node:test';
import { until } from '../../support/until.ts';
import { imageOrSkip } from './kernel-image.ts';
import { KERNELS } from './kernels.ts';
import { runInMachine } from './machine.ts';
import { NEEDED_TO_BOOT, NOT_ASKED_FOR, needs } from './needed.ts';

const SKIP = NOT_ASKED_FOR || needs(NEEDED_TO_BOOT);
/** Time enough to boot, as a rule; whether it was is not what is tested. */
const LIMIT_MS = 20_000;

/** Arguments of the emulators that this process has started. */
function machinesOfOurs(): string[][] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((pid) => {
      try {
        const ppid = Number(readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ')[1]);
        const argv = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
        return ppid === process.pid && argv[0]?.startsWith('qemu-system') ? [argv] : [];
      } catch {
        return [];
      }
    });
}

for (const kernel of KERNELS) {
  describe(`a machine with ${kernel.name} that hangs`, { skip: SKIP }, () => {
    it('is killed when its time is over, and what it did last is told', async (t) => {
      const image = await imageOrSkip(kernel, (why) => t.skip(why));
      if (!image) return;
      const said: string[] = [];
      const startedMs = performance.now();
      const hangs = assert.rejects(
        runInMachine(image, {
          command: 'echo "now nothing more comes"; sleep 1000',
          onLine: (line) => said.push(line),
          limitMs: LIMIT_MS,
        }),
        ({ message }: Error) => {
          const [summary = '', ...console] = message.split('\n');
          assert.equal(
            summary,
            `${image.release}: killed because it was not done after 20 s; the last it said was: ${said.at(-1) ?? 'nothing'}. The end of its console:`,
          );
          assert.match(console.join('\n'), /^\[ *\d+\.\d+\] /m);
          return true;
        },
      );
      const [argv = []] = await until('it runs', () => machinesOfOurs().length > 0 && machinesOfOurs());
      await hangs;
      const tookMs = performance.now() - startedMs;
      assert.ok(tookMs >= LIMIT_MS && tookMs < LIMIT_MS + 10_000, `after ${tookMs} ms`);
      assert.deepEqual(machinesOfOurs(), []);
      const initramfs = argv[argv.indexOf('-initrd') + 1] ?? '';
      assert.match(initramfs, /initramfs$/);
      assert.ok(!existsSync(dirname(initramfs)), 'its folder is gone');
    });
  });
}
