import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { constants, mkdtempSync, openSync, rmSync } from 'node:fs';
import { open, readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite, type TestContext, test } from 'node:test';
import type { Recorder } from '../../../../src/agent/record/recorder.ts';
import { readRecords } from '../../../../src/agent/record/recording.ts';
import { serviceFact } from '../../../../src/kube/index/facts.ts';
import { until } from '../../../support/until.ts';
import { FakeFeed, packet } from '../../serve/fake-feed.ts';
import { startRecorder } from './recorder-fixture.ts';

const SERVICE = serviceFact({
  metadata: { namespace: 'shop', name: 'web', uid: 's1' },
  spec: { type: 'ClusterIP', clusterIPs: ['10.96.0.1'], ports: [{ port: 80 }] },
});

/** Removed without a thread: where all of them hang the test must end. */
function folder(t: TestContext): string {
  const path = mkdtempSync(join(tmpdir(), 'ktrace-threads-'));
  t.after(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

/** A file that whoever opens it hangs on, in a thread of the process, until it is let go. */
function hanging(t: TestContext, path: string): { letGo(): void } {
  execFileSync('mkfifo', [path]);
  // It stays reachable when its folder is gone; both ends stay open for as long as anybody may still open it.
  const own = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  const letGo = (): void => void openSync(`/proc/self/fd/${own}`, constants.O_RDWR | constants.O_NONBLOCK);
  t.after(letGo);
  return { letGo };
}

/** Another disk's file, which Node reads by the same threads: a service account's token, for example. */
async function another(): Promise<string> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<string>((resolve) => {
    timer = setTimeout(resolve, 5000, 'not within 5 s');
  });
  const read = readFile('/proc/self/stat', 'utf8').then(() => 'read');
  return Promise.race([read, late]).finally(() => clearTimeout(timer));
}

function flood(feed: FakeFeed, count: number): void {
  const pod = { namespace: 'shop', name: 'web', uid: 'u1', node: 'host1', labels: {} };
  for (let at = 0; at < count; at++) {
    feed.publish({ ...packet(at), time: new Date().toISOString(), src: { ip: '10.0.0.1', pod } });
  }
}

async function readAll(recorder: Recorder): Promise<number> {
  let blocks = 0;
  const options = { sinceMs: 0, untilMs: 8e15, keys: undefined, after: undefined, onDamage: () => undefined };
  for await (const _ of readRecords(recorder, options)) blocks += 1;
  return blocks;
}

suite('a recording’s disk that hangs', () => {
  test('keeps no other file waiting while all parts are written', async (t) => {
    const directory = folder(t);
    const pipe = join(directory, 'hangs');
    const { letGo } = hanging(t, pipe);
    let hung = 0;
    const feed = new FakeFeed();
    const recorder = await startRecorder(t, {
      directory,
      budgetBytes: 1024 * 1024,
      feed,
      services: () => (SERVICE === undefined ? [] : [{ fact: SERVICE, slices: [] }]),
      write: async (file, blocks) => {
        hung += 1;
        await (await open(pipe, 'r')).close();
        return (await file.writev(blocks)).bytesWritten;
      },
    });
    // Within its share, and over it.
    flood(feed, 3000);
    recorder.servicesChanged();
    recorder.flush();
    await until('it hangs', () => hung >= 2);
    // The parts that are left have had their chance, too.
    await new Promise((resolve) => setTimeout(resolve, 1500));
    assert.equal(await another(), 'read');
    letGo();
    const { share, excess, names, services } = recorder.stores;
    await until('all are written', () => [share, excess, names, services].every(({ counts }) => counts.writtenBytes > 0));
  });

  test('keeps no other file waiting while it is read, by however many', async (t) => {
    const feed = new FakeFeed();
    const recorder = await startRecorder(t, { directory: folder(t), budgetBytes: 64 * 1024 * 1024, feed });
    flood(feed, 10);
    await recorder.settled();
    const [segment] = recorder.stores.share.segments();
    assert.ok(segment !== undefined);
    rmSync(segment.path);
    const { letGo } = hanging(t, segment.path);
    const reading = Array.from({ length: 8 }, () => readAll(recorder));
    await new Promise((resolve) => setTimeout(resolve, 200));
    assert.equal(await another(), 'read');
    letGo();
    await Promise.all(reading);
  });
});
