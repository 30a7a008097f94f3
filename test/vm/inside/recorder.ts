/**
 * `recorder.ts write|read FOLDER`: the recorder on a disk that may lose its power.
 * `write` records numbered packets until it is killed, and says every 50 ms how many it was given and how many are on disk. `read` says what the folder
 * has, goes on recording there, and says what it has then. One JSON object a line.
 */
import { randomBytes } from 'node:crypto';
import { writeSync } from 'node:fs';
import type { Damage } from '../../../src/agent/record/record-places.ts';
import { Recorder } from '../../../src/agent/record/recorder.ts';
import { readRecords } from '../../../src/agent/record/recording.ts';
import type { PacketEvent, PodRef } from '../../../src/event/types.ts';
import { FakeFeed, packet } from '../../agent/serve/fake-feed.ts';
import type { PowerLossReport } from '../power-loss-report.ts';

const [mode = '', folder = ''] = process.argv.slice(2);
/** Small, so that segments are begun all the time; each pod's share holds what it records. */
const BUDGET_BYTES = 8 * 1024 * 1024;
const PODS = 32;
const EVERY_MS = 50;
const AT_ONCE = 25;
/** Of random headers. */
const HEADER_BYTES = 120;
const MORE = 200;

const feed = new FakeFeed(mode);
const pods = Array.from(
  { length: PODS },
  (_, at): PodRef => ({ namespace: 'shop', name: `web-${at}`, uid: `u${at}`, node: 'host1', labels: {} }),
);
const quiet = { info: () => undefined, warn: () => undefined, error: () => undefined };
const recorder = await Recorder.start({
  config: { directory: folder, budgetBytes: BUDGET_BYTES, ageMs: 3_600_000 },
  feed,
  ownPods: () => pods.map((pod, at) => ({ pod, ips: [`10.0.0.${at}`] })),
  isPodAddress: () => false,
  name: () => undefined,
  notice: ({ text }) => say({ trouble: text }),
  withdraw: () => undefined,
  lost: ({ count }) => say({ trouble: `${count} records were lost` }),
  log: quiet as never,
});
const written = (): number => recorder.stores.share.counts.writtenRecords;

if (mode === 'write') {
  let given = 0;
  setInterval(() => {
    publish(given, AT_ONCE);
    given += AT_ONCE;
    say({ atMs: Date.now(), given, synced: written(), segments: recorder.stores.share.segments().length });
  }, EVERY_MS);
} else {
  say({ found: await found() });
  publish(-MORE, MORE);
  recorder.flush();
  while (written() < MORE) await new Promise((resolve) => setTimeout(resolve, 20));
  say({ after: await found() });
  await recorder.close();
  process.exit(0);
}

function publish(from: number, count: number): void {
  for (let at = from; at < from + count; at++) {
    const pod = pods[Math.abs(at) % PODS] as PodRef;
    const event: PacketEvent = { ...packet(0), id: String(at), time: new Date().toISOString(), src: { ip: '10.0.0.1', pod } };
    feed.publish(event, [randomBytes(HEADER_BYTES)]);
  }
}

async function found(): Promise<NonNullable<PowerLossReport['found']>> {
  const damaged: Damage[] = [];
  const onDamage = (damage: Damage): void => void damaged.push(damage);
  const numbers: number[] = [];
  for await (const { raw } of readRecords(recorder, { sinceMs: 0, untilMs: 8e15, keys: undefined, after: undefined, onDamage })) {
    for (const line of raw.toString('utf8').split('\n'))
      if (line !== '') numbers.push(Number((JSON.parse(line) as { id?: string }).id));
  }
  const { pods: owners, gaps } = await recorder.recordedOwners.read(onDamage);
  const old = numbers.filter((number) => number >= 0).sort((a, b) => a - b);
  return {
    ...{
      old: old.length,
      isWithoutGap: old.every((number, at) => number === at),
      more: numbers.filter((number) => number < 0).length,
    },
    ...{
      pods: owners.length,
      gaps: gaps.length,
      damaged,
      segments: recorder.stores.share.segments().map(({ name, bytes }) => ({ name, bytes })),
    },
  };
}

function say(report: PowerLossReport): void {
  writeSync(1, `${JSON.stringify(report)}\n`);
}
