import assert from 'node:assert/strict';
import { suite, type TestContext, test } from 'node:test';
import type { Recorder } from '../../../src/agent/record/recorder.ts';
import { RecordingStart } from '../../../src/agent/record/recording-start.ts';
import type { NoticeEvent } from '../../../src/event/types.ts';
import { createLog } from '../../../src/util/log.ts';
import { serve } from '../serve/server-fixture.ts';
import { emptyRecorder } from './recorder/recorder-fixture.ts';

async function begin(t: TestContext, patienceMs: number) {
  const disk = Promise.withResolvers<Recorder>();
  const notices: Pick<NoticeEvent, 'level' | 'text'>[] = [];
  let standing: string | undefined;
  const started = RecordingStart.begin({
    start: () => disk.promise,
    notice: (notice) => {
      notices.push(notice);
      standing = notice.text;
    },
    withdraw: (_, by) => {
      standing = undefined;
      if (by !== undefined) notices.push(by);
    },
    log: createLog('agent', 'silent'),
    patienceMs,
  });
  return { disk, started, notices, standing: () => standing, recorder: await emptyRecorder(t) };
}

const QUESTION = { type: 'recorded', targets: [{ kind: 'all' }] } as const;
const turn = () => new Promise((resolve) => setImmediate(resolve));

suite('an agent whose recording’s disk does not answer', () => {
  test('starts without it, says so, and records and answers from then on', async (t) => {
    const { disk, started, notices, standing, recorder } = await begin(t, 20);
    const recording = await started;
    assert.equal(recording.recorder, undefined);
    assert.match(standing() ?? '', /not recorded: its disk has not answered since the agent began/);
    const { connect } = await serve(t, {}, { recorder: () => recording.recorder });
    const before = connect();
    await before.hello();
    before.say(QUESTION);
    await before.until(() => before.all('error').length === 1);
    assert.deepEqual(
      before.all('error').map(({ code }) => code),
      ['KTRACE_E_NOT_RECORDING'],
    );
    const early = connect();
    await early.hello();
    disk.resolve(recorder);
    await turn();
    assert.equal(standing(), undefined);
    assert.deepEqual(
      notices.map(({ level }) => level),
      ['warn', 'info'],
    );
    // Also over a connection that was there before.
    early.say(QUESTION);
    await early.until(() => early.all('recorded').length === 1);
  });

  test('waits for a disk that answers, without a word', async (t) => {
    const { disk, started, notices, recorder } = await begin(t, 60_000);
    disk.resolve(recorder);
    const recording = await started;
    assert.deepEqual([recording.recorder, notices], [recorder, []]);
  });

  test('closes a recorder that comes when the agent has gone down', async (t) => {
    const { disk, started, recorder } = await begin(t, 10);
    const recording = await started;
    const close = t.mock.method(recorder, 'close');
    await recording.close();
    disk.resolve(recorder);
    await turn();
    assert.deepEqual([recording.recorder, close.mock.callCount()], [undefined, 1]);
  });

  test('does not start where the recorder cannot begin, and says why where that comes late', async (t) => {
    const early = await begin(t, 60_000);
    early.disk.reject(new Error('no'));
    await assert.rejects(early.started, /no/);
    const late = await begin(t, 10);
    await late.started;
    late.disk.reject(new Error('EIO: i/o error'));
    await turn();
    assert.match(late.standing() ?? '', /not recorded: EIO/);
  });
});
