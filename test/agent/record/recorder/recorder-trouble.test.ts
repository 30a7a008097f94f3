import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite, type TestContext, test } from 'node:test';
import type { Recorder, RecorderOptions } from '../../../../src/agent/record/recorder.ts';
import type { RecordLane } from '../../../../src/agent/record/recording.ts';
import type { NoticeEvent } from '../../../../src/event/types.ts';
import { cleanUp } from '../../../support/clean-up.ts';
import { fc } from '../../../support/fast-check.ts';
import { until } from '../../../support/until.ts';
import { startRecorder } from './recorder-fixture.ts';

interface Told {
  recorder: Recorder;
  /** Notices as followers get them. */
  notices: Pick<NoticeEvent, 'level' | 'text'>[];
  /** The one that those who come later get. */
  standing(): string | undefined;
}

async function start(t: TestContext, directory: string, options: Pick<RecorderOptions, 'write'> = {}): Promise<Told> {
  const notices: Told['notices'] = [];
  let standing: string | undefined;
  const recorder = await startRecorder(t, {
    directory,
    budgetBytes: 64 * 1024 * 1024,
    ...options,
    notice: (notice) => {
      notices.push(notice);
      standing = notice.text;
    },
    withdraw: (_, by) => {
      standing = undefined;
      if (by !== undefined) notices.push(by);
    },
  });
  return { recorder, notices, standing: () => standing };
}

function folder(t: TestContext): string {
  const path = mkdtempSync(join(tmpdir(), 'ktrace-trouble-'));
  cleanUp(t, () => rmSync(path, { recursive: true, force: true }));
  return path;
}

test('a disk that hangs is told within 5 s, and as over when it answers', async (t) => {
  const gate = Promise.withResolvers<void>();
  const { notices, standing } = await start(t, folder(t), {
    write: async (file, blocks) => {
      await gate.promise;
      return (await file.writev(blocks)).bytesWritten;
    },
  });
  const beganMs = performance.now();
  await until('it is told', () => standing() !== undefined);
  const tookMs = performance.now() - beganMs;
  // The machine may be busy: what is proven is that nothing but time passes.
  assert.ok(tookMs > 2500 && tookMs < 10_000, `${tookMs} ms`);
  assert.match(standing() ?? '', /not recorded: slow: it has not answered for 3 s/);
  gate.resolve();
  await until('over', () => standing() === undefined);
  assert.equal(notices.filter(({ level }) => level === 'info').length, 1);
});

const LANES: RecordLane[] = ['share', 'excess', 'names', 'services'];

suite('the notice that nothing is recorded', () => {
  test('stands exactly as long as any part cannot be written, with a reason that holds', async (t) => {
    const { recorder, notices, standing } = await start(t, folder(t));
    const step = fc.record({ lane: fc.constantFrom(...LANES), why: fc.constantFrom('ENOSPC', 'EIO', undefined) });
    fc.assert(
      fc.property(fc.array(step), (steps) => {
        const failing = new Map<RecordLane, string>();
        for (const { lane, why } of [...steps, ...LANES.map((lane) => ({ lane, why: undefined }))]) {
          const toldBefore = notices.length;
          const wasFailing = failing.size > 0;
          if (why === undefined) failing.delete(lane);
          else failing.set(lane, why);
          recorder.trouble(lane, why);
          assert.equal(standing() !== undefined, failing.size > 0);
          if (failing.size > 0) assert.ok([...failing.values()].some((one) => standing()?.endsWith(`: ${one}`)));
          const isRecordedAgain = notices.slice(toldBefore).some(({ level }) => level === 'info');
          assert.equal(isRecordedAgain, wasFailing && failing.size === 0);
        }
      }),
    );
  });

  for (const [first, second] of [
    ['names', 'share'],
    ['share', 'names'],
  ] as const) {
    test(`is not withdrawn by ${first}, which can be written again, while ${second} cannot`, async (t) => {
      const directory = folder(t);
      // A file in a folder's place: nothing can be written there.
      for (const lane of [first, second]) writeFileSync(join(directory, lane), '');
      const { recorder, notices, standing } = await start(t, directory);
      recorder.event({ v: 1, kind: 'lost', node: 'host1', stage: 'kernel-ring', count: 1, from: '', to: '' });
      recorder.flush();
      await until('both fail', () => recorder.stores[first].isFailing && recorder.stores[second].isFailing);
      rmSync(join(directory, first));
      await until('one is written again', () => !recorder.stores[first].isFailing);
      assert.match(standing() ?? '', /not recorded: ENOTDIR/);
      rmSync(join(directory, second));
      await until('the other, too', () => !recorder.stores[second].isFailing);
      assert.equal(standing(), undefined);
      assert.equal(notices.filter(({ level }) => level === 'info').length, 1);
    });
  }
});
