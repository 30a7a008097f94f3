import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { before } from '../support/evidence.ts';
import { imageOrSkip, type KernelImage } from './machine/kernel-image.ts';
import { KERNELS } from './machine/kernels.ts';
import { cutPowerOf, runInMachine } from './machine/machine.ts';
import { NEEDED_HERE, NEEDED_TO_BOOT, NOT_ASKED_FOR, needs } from './machine/needed.ts';
import { writePlainScript } from './machine/plain-script.ts';
import { VolatileDisk } from './machine/volatile-disk.ts';
import type { FoundRecording, PowerLossReport } from './power-loss-report.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const SKIP = NOT_ASKED_FOR || needs([...NEEDED_HERE, ...NEEDED_TO_BOOT, { command: 'mkfs.ext4', package: 'e2fsprogs' }]);
const DISK_BYTES = 64 * 1024 * 1024;
/** The recorder writes each second; an emulated machine takes its time to write and to say so. */
const MOST_UNSYNCED_MS = 1000 + 1000;
/** Power goes when so many segments were begun. */
const SEGMENTS = 3;

for (const kernel of KERNELS) {
  describe(`a recording on a disk that lost its power while it was written to, on ${kernel.name}`, { skip: SKIP }, () => {
    const folder = join(ROOT, `build/vm-power.${process.pid}`);
    const sockets = mkdtempSync(join(tmpdir(), 'ktrace-disk-'));
    const written: Required<Pick<PowerLossReport, 'atMs' | 'given' | 'synced'>>[] = [];
    let disk: VolatileDisk | undefined;
    let found: FoundRecording | undefined;
    let later: FoundRecording | undefined;
    let reason: string | undefined;

    before(async () => {
      const image = await imageOrSkip(kernel, (why) => {
        reason = why;
      });
      if (!image) return;
      const socket = join(sockets, 'nbd');
      disk = await VolatileDisk.start(socket, DISK_BYTES);
      const script = writePlainScript(ROOT, 'test/vm/inside/recorder.ts', folder);
      await writeUntilPowerGoes(image, disk, socket, script);
      await readAgain(image, socket, script);
    });
    after(async () => {
      await disk?.close();
      for (const one of [folder, sockets]) rmSync(one, { recursive: true, force: true });
    });

    async function writeUntilPowerGoes(image: KernelImage, medium: VolatileDisk, socket: string, script: string): Promise<void> {
      const power = new AbortController();
      let isToGo = false;
      await cutPowerOf(image, power.signal, {
        command: `${mounted('mkfs.ext4 -q /dev/vda &&')} '${process.execPath}' '${script}' write /mnt/recording`,
        onLine: (line) => {
          const { atMs, given, synced, segments, trouble } = reportIn(line);
          assert.equal(trouble, undefined);
          if (atMs === undefined || given === undefined || synced === undefined) return;
          written.push({ atMs, given, synced });
          if ((segments ?? 0) < SEGMENTS || isToGo) return;
          isToGo = true;
          // One of the flushes of a second: a write of data, one of the journal, a new segment.
          setTimeout(
            () =>
              medium.cutPowerAtFlush(
                () => Math.random() < 0.5,
                () => power.abort(),
              ),
            Math.random() * 2000,
          );
        },
        limitMs: 120_000,
        diskSocket: socket,
      });
    }

    async function readAgain(image: KernelImage, socket: string, script: string): Promise<void> {
      const lines: string[] = [];
      const code = await runInMachine(image, {
        command: `${mounted('')} '${process.execPath}' '${script}' read /mnt/recording && umount /mnt`,
        onLine: (line) => {
          lines.push(line);
          const report = reportIn(line);
          found ??= report.found;
          later ??= report.after;
          assert.equal(report.trouble, undefined);
        },
        limitMs: 120_000,
        diskSocket: socket,
      });
      assert.equal(code, 0, lines.join('\n'));
    }

    const prove = (title: string, check: (found: FoundRecording, later: FoundRecording) => void) =>
      it(title, (t) => {
        if (reason !== undefined) return t.skip(reason);
        assert.ok(found !== undefined && later !== undefined, 'the second machine said nothing');
        check(found, later);
        const last = written.at(-1);
        t.diagnostic(
          `${found.old} records there, ${last?.synced} told as synced, ${last?.given} given; cache ${JSON.stringify(disk?.cut)}`,
        );
      });

    prove('has every record that was synced, without a gap', ({ old, isWithoutGap, segments }) => {
      const last = written.at(-1);
      assert.ok(last !== undefined && last.synced > 0 && segments.length >= SEGMENTS);
      assert.ok((disk?.cut.cached ?? 0) > 0, 'power went while something was cached');
      assert.ok(isWithoutGap);
      assert.ok(old >= last.synced, `${old} of ${last.synced} are there`);
    });

    prove('lacks no more than what was recorded in the last second', ({ old }) => {
      const last = written.at(-1);
      const before = written.findLast(({ atMs }) => atMs <= (last?.atMs ?? 0) - MOST_UNSYNCED_MS);
      assert.ok(
        before !== undefined && old >= before.given,
        `${old} are there, ${before?.given} were given before the last second`,
      );
    });

    prove('is damaged nowhere but at its end', ({ damaged, segments }) => {
      const last = segments.at(-1);
      for (const { name, at, bytes } of damaged)
        assert.ok(last !== undefined && name === `share/${last.name}` && at + bytes === last.bytes, JSON.stringify(damaged));
    });

    prove('knows the names, and the time in which nothing was recorded', ({ pods, gaps }) => {
      assert.deepEqual([pods, gaps], [32, 1]);
    });

    prove('is gone on with by the next recorder, and has both', ({ old }, next) => {
      assert.deepEqual([next.old, next.more, next.isWithoutGap], [old, 200, true]);
    });
  });
}

function mounted(first: string): string {
  return `modprobe virtio_blk && modprobe ext4 && ${first} mount -t ext4 /dev/vda /mnt &&`;
}

function reportIn(line: string): PowerLossReport {
  return line.startsWith('{') ? (JSON.parse(line) as PowerLossReport) : {};
}
