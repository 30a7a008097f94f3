import type { TestContext } from 'node:test';
import { Recorder, type RecorderOptions } from '../../../../src/agent/record/recorder.ts';
import { createLog } from '../../../../src/util/log.ts';
import { cleanUp } from '../../../support/clean-up.ts';
import { FakeFeed } from '../../serve/fake-feed.ts';
import { temporaryDirectory } from '../../serve/server-fixture.ts';

type Options = Partial<RecorderOptions> & { directory: string; budgetBytes: number };

/** A recorder that keeps an hour of a feed without pods and tells nobody anything, but for what the test gives; closed after the test. */
export async function startRecorder(t: TestContext, { directory, budgetBytes, ...options }: Options): Promise<Recorder> {
  const recorder = await Recorder.start({
    config: { directory, budgetBytes, ageMs: 3_600_000 },
    feed: new FakeFeed(),
    ownPods: () => [],
    isPodAddress: () => false,
    name: () => undefined,
    notice: () => undefined,
    withdraw: () => undefined,
    lost: () => undefined,
    log: createLog('agent', 'silent'),
    ...options,
  });
  cleanUp(t, () => recorder.close());
  return recorder;
}

/** One that has recorded nothing. */
export async function emptyRecorder(t: TestContext): Promise<Recorder> {
  return startRecorder(t, { directory: await temporaryDirectory(t), budgetBytes: 64 * 1024 * 1024 });
}
