import assert from 'node:assert/strict';
import { existsSync, readdirSync, utimesSync } from 'node:fs';
import { join } from 'node:path';
import { after, suite, test } from 'node:test';
import { endsOf } from '../../../../src/event/ends.ts';
import type { FlowEvent, KtraceEvent, PacketEvent } from '../../../../src/event/types.ts';
import { recordingDirectory } from '../../../../src/lab/agents.ts';
import type { Lab } from '../../../../src/lab/lab.ts';
import { removeLab } from '../../../../src/lab/machine/remove.ts';
import type { LabPod } from '../../../../src/lab/plan/plan.ts';
import { before } from '../../../support/evidence.ts';
import { runKtrace } from '../../../support/ktrace-process.ts';
import { until } from '../../../support/until.ts';
import { labUp, randomLabName, SKIP } from '../../support/lab-fixture.ts';

const DEAD = 'frontend-88237173-jdfgg';
const OOM = 'redis-slave-132015689-k0rk5';
/** How long after a crash is kept; by default a minute. */
const AFTER_MS = 20_000;
/** Recordings are kept for a day. */
const LONG_AGO_MS = 30 * 3_600_000;

interface Listed {
  kind: 'incident';
  id: string;
  time: string;
  node: string;
  pod: { namespace: string; name: string; uid: string };
  causes: { kind: string; text: string }[];
  records: number;
  isWhole?: false;
}

suite('pods that crash in a lab that records', { skip: SKIP }, () => {
  const name = randomLabName();
  let lab: Lab;
  let dead: LabPod;

  const dump = (...argv: string[]) => runKtrace(['dump', '--kubeconfig', lab.kubeconfig, ...argv]);

  async function incidents(...argv: string[]): Promise<Listed[]> {
    const { code, stdout, stderr } = await dump('--incidents', '-o', 'json', ...argv);
    assert.equal(code, 0, stderr);
    return linesIn(stdout) as unknown as Listed[];
  }

  async function records(...argv: string[]): Promise<(PacketEvent | FlowEvent)[]> {
    const { stdout } = await dump('-o', 'json', ...argv);
    return linesIn(stdout).filter((event) => event.kind === 'packet' || event.kind === 'flow');
  }

  const hasService = (events: (PacketEvent | FlowEvent)[]): boolean =>
    events.some((event) => event.nat?.some(({ service }) => service?.startsWith('default/redis-')));

  /** As if all that was recorded so far had been recorded long ago: the agents' own rotation takes it away. */
  async function rotate(): Promise<void> {
    for (const { name: node } of lab.nodes) {
      await lab.stopAgent(node);
      for (const lane of ['share', 'excess', 'names']) {
        const folder = join(recordingDirectory(lab.directory, node), lane);
        const then = new Date(Date.now() - LONG_AGO_MS);
        // Where no pod was over its share there is no part for it.
        const files = existsSync(folder) ? readdirSync(folder) : [];
        for (const file of files) utimesSync(join(folder, file), then, then);
      }
      await lab.startAgent(node, ['--incident-after-ms', String(AFTER_MS)]);
    }
  }

  before(async () => {
    lab = await labUp({ name, bound: true, records: true });
    for (const { name: node } of lab.nodes) await lab.restartAgent(node, ['--incident-after-ms', String(AFTER_MS)]);
    dead = lab.pod(DEAD);
    await until('its translations are recorded', async () => hasService(await records(`pod/${DEAD}`)));
  });
  after(async () => {
    await removeLab(name);
  });

  test('are listed with time, pod and cause, and what is kept of them outlives the recording and the agents', async () => {
    assert.deepEqual(await incidents(), []);
    await lab.crashPod(DEAD, { exitCode: 1, reason: 'Error' });
    await lab.crashPod(OOM, { exitCode: 137, reason: 'OOMKilled' });
    const crashedAtMs = Date.now();
    const both = await until('both are listed', async () => {
      const all = await incidents();
      return all.length === 2 && all;
    });
    const texts = both.map(({ node, pod, causes }) => [node, pod.name, pod.uid, ...causes.map(({ text }) => text)]);
    assert.deepEqual(texts.sort(), [
      [dead.node, DEAD, dead.uid, 'container frontend ended with exit code 1'],
      [lab.pod(OOM).node, OOM, lab.pod(OOM).uid, 'container redis-slave was OOM-killed'],
    ]);
    // What others send to it in the time after is kept too.
    await lab.exec(`pod/${lab.pod('frontend-88237173-z3ltv').name}`, ['ping', '-c', '5', '-i', '0.2', dead.ip]);
    const kept = await until(
      'the time after it is over',
      async () => (await incidents(`pod/${DEAD}`)).find(({ isWhole }) => isWhole !== false),
      120_000,
    );
    assert.ok(Math.abs(Date.parse(kept.time) - crashedAtMs) < 10_000);
    const before = await records(`incident/${kept.id}`);
    assert.ok(hasService(before));
    assert.ok(hasService(await records(`pod/${DEAD}`, '--since', '1h')));

    await rotate();
    const again = await until('the agents answer', async () => {
      const all = await incidents(`pod/${DEAD}`);
      return all.length > 0 && all;
    });
    assert.deepEqual(again, [kept]);
    // The recording has none of it any more, of nobody.
    const isNew = (event: PacketEvent | FlowEvent): boolean => timeOf(event) > Date.parse(kept.time) + AFTER_MS;
    await until(
      'all that is recorded is new',
      async () => {
        const all = await records('-A', '--since', '1h');
        return all.length > 0 && all.every(isNew);
      },
      30_000,
    );
    const events = await records(`incident/${kept.id}`);
    assert.ok(hasService(events));
    assert.ok(events.some((event) => event.kind === 'flow'));
    assert.ok(events.some((event) => timeOf(event) < Date.parse(kept.time)));
    const pings = events.filter(
      (event) => event.kind === 'packet' && event.icmp?.name === 'echo-request' && timeOf(event) > crashedAtMs,
    );
    assert.ok(pings.some((event) => event.dst.pod?.uid === dead.uid));
    for (const event of events) {
      assert.ok(
        endsOf(event).some(({ pod }) => pod?.uid === dead.uid),
        JSON.stringify(event),
      );
    }
    // Whoever asks for it may filter it, and read it elsewhere as any dump.
    const echoes = await records(`incident/${kept.id}`, 'icmp[icmptype] == icmp-echo');
    assert.ok(echoes.length > 0 && echoes.length < events.length);
  });

  test('are told as text, and an incident that is none with those that are', async () => {
    const { code, stdout, stderr } = await dump('--incidents');
    assert.equal(code, 0, stderr);
    assert.match(
      stdout,
      /^20\S+Z {2}incident\/[0-9a-f]{8} {2}host1 {2}default\/frontend-88237173-jdfgg {2}container frontend ended with exit code 1 \(\d+ records\)$/m,
    );
    assert.match(stderr, /^ktrace: 2 incidents$/m);
    const unknown = await dump('incident/00000000');
    assert.equal(unknown.code, 1);
    assert.match(unknown.stderr, /KTRACE_E_INCIDENT_UNKNOWN[\s\S]*Kept are incident\/[0-9a-f]{8} of default\//);
    assert.equal((await dump('--incidents', '-n', 'kube-system')).stdout, '');
  });
});

function linesIn(stdout: string): KtraceEvent[] {
  return stdout.split('\n').flatMap((line) => (line === '' ? [] : [JSON.parse(line) as KtraceEvent]));
}

function timeOf(event: PacketEvent | FlowEvent): number {
  return Date.parse(event.kind === 'packet' ? event.time : event.endTime);
}
