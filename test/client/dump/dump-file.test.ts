import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { suite, type TestContext, test } from 'node:test';
import { DumpFile, isDumpFile, type Manifest, readDump, readDumpServices } from '../../../src/client/file/dump-file.ts';
import type { ToldService } from '../../../src/client/merge/told-services.ts';
import { CaptureWriter } from '../../../src/client/output/capture-writer.ts';
import { readDumpFile } from '../../../src/client/read/read-dump.ts';
import type { FlowEvent, KtraceEvent } from '../../../src/event/types.ts';
import { readCapture } from '../../../src/store/capture/capture-file.ts';
import type { CapturedPacket } from '../../../src/store/capture/captured-packet.ts';
import { flow, hop, packet, pod } from '../events.ts';

const MANIFEST: Manifest = {
  ...{ v: 1, made: '2026-11-22T08:45:00.000Z', targets: [{ kind: 'all' }], nodes: ['host1'], missing: [] },
  ...{ since: '2026-11-22T08:00:00.000Z', until: '2026-11-22T09:00:00.000Z' },
};
const flows = Array.from({ length: 3000 }, (_, at) =>
  flow({ id: `f${at}`, node: 'host1', src: pod('web', '10.0.0.1', 'host1', 1000 + at), dst: { ip: '10.0.0.2', port: 80 } }),
);

async function written(t: TestContext, isEnded = true): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), 'ktrace-dump-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const path = join(folder, 'a.ktrace');
  writeFileSync(path, 'what was there before', { mode: 0o644 });
  const file = await DumpFile.create(path, MANIFEST);
  for (const event of flows) await file.add(event);
  if (isEnded) await file.end(MANIFEST, 'all');
  await file.close();
  return path;
}

async function read(path: string): Promise<{ events: KtraceEvent[]; code: string | undefined }> {
  const events: KtraceEvent[] = [];
  try {
    for await (const event of readDump(path)) events.push(event);
    return { events, code: undefined };
  } catch (error) {
    return { events, code: (error as { code: string }).code };
  }
}

suite('a dump in a file', () => {
  test('is read as it was written, and is its owner’s alone, also where a file was there before', async (t) => {
    const path = await written(t);
    assert.equal(statSync(path).mode & 0o777, 0o600);
    assert.ok(await isDumpFile(path));
    assert.deepEqual(await read(path), { events: flows, code: undefined });
  });

  test('is half a dump without its end, and what is in it is read', async (t) => {
    const path = await written(t);
    const bytes = readFileSync(path);
    writeFileSync(path, bytes.subarray(0, bytes.length - 10));
    const { events, code } = await read(path);
    assert.deepEqual([events.length, code], [3000, 'KTRACE_E_DUMP_INCOMPLETE']);
    writeFileSync(path, bytes.subarray(0, bytes.length / 2));
    const half = await read(path);
    assert.equal(half.code, 'KTRACE_E_DUMP_INCOMPLETE');
    assert.ok(half.events.length > 0 && half.events.length < 3000);
  });

  test('holds Services beside its records, also those with very many endpoints, and half a dump says so', async (t) => {
    const path = await written(t, false);
    const endpoints = Array.from({ length: 2500 }, (_, at) => ({
      ...{ ip: `10.0.${at >> 8}.${at & 255}`, node: `node-${at}`, ports: [{ name: 'http', proto: 'tcp', port: 8080 }] },
      ...{ pod: { namespace: 'shop', name: `web-${at}`, uid: randomUUID() }, from: MANIFEST.since },
    }));
    const state = { type: 'ClusterIP', ips: ['10.96.0.1'], ports: [], from: MANIFEST.since };
    const service = { v: 1 as const, kind: 'service' as const, namespace: 'shop', nodes: ['host1'] };
    const services: ToldService[] = ['big', 'none'].map((name, at) => ({
      ...service,
      name,
      states: [state],
      endpoints: at === 0 ? endpoints : [],
    }));
    const file = await DumpFile.create(path, MANIFEST);
    for (const event of flows) await file.add(event);
    await file.services(services);
    await file.end(MANIFEST, 'all');
    await file.close();
    assert.deepEqual(await read(path), { events: flows, code: undefined });
    const found: ToldService[] = [];
    for await (const one of readDumpServices(path)) found.push(one);
    assert.deepEqual(found, services);
    writeFileSync(path, readFileSync(path).subarray(0, -10));
    await assert.rejects(
      async () => {
        for await (const _ of readDumpServices(path));
      },
      { code: 'KTRACE_E_DUMP_INCOMPLETE' },
    );
  });

  test('is read but for the records that cannot be read, which are told of and counted', async (t) => {
    const path = await written(t, false);
    const file = await DumpFile.create(path, MANIFEST);
    const { src: _, ...broken } = flows[1] as FlowEvent;
    for (const event of [flows[0], broken, { ...flows[1], startTime: 'never' }, flows[2]]) await file.add(event as FlowEvent);
    await file.end(MANIFEST, 'all');
    await file.close();
    const [stdout, stderr] = [new PassThrough(), new PassThrough()];
    const code = await readDumpFile(
      { path, words: [], output: 'json' },
      { stdout, stderr, env: {}, interrupt: new AbortController().signal, lookUp: () => Promise.resolve([]) },
    );
    const lines = String(stdout.read()).trim().split('\n');
    assert.deepEqual([code, lines.map((line) => (JSON.parse(line) as FlowEvent).id)], [0, ['f0', 'f2', undefined]]);
    assert.match(lines[2] ?? '', /KTRACE_N_EVENTS_INVALID.*2 records of this file cannot be read: Expected a flow event/);
    assert.equal(String(stderr.read()), 'ktrace: 4 records read, 2 shown, 2 unreadable\n');
  });

  test('is asked before and after translation, outside and inside of a tunnel, as the nodes were', async (t) => {
    const path = await written(t, false);
    const service = { ip: '10.96.0.10', port: 6379, service: { namespace: 'default', name: 'redis-master', port: '' } };
    const redis = pod('redis-0', '10.244.3.2', 'host3', 6380);
    const tunnel = { kind: 'vxlan', vni: 1, src: '172.18.0.1', dst: '172.18.0.3' } as const;
    const bytes = Buffer.from(
      '4500002c0007400040060000' + '0af40102' + '0a60000a' + 'a22818eb' + '00000001000000006002ffff00000000',
      'hex',
    );
    const record = packet({
      ...{ id: 'p1', src: pod('frontend', '10.244.1.2', 'host1', 41_512), dst: service },
      nat: [{ kind: 'dnat', before: service, after: redis, service: 'default/redis-master', seenBy: 'conntrack' }],
      hops: [hop('host1', 'veth1', 'in', 0), hop('host1', 'flannel.1', 'out', 30_000, tunnel)],
      headers: [bytes.toString('base64')],
    });
    const write = async (manifest: Manifest): Promise<void> => {
      const file = await DumpFile.create(path, manifest);
      await file.add(record);
      await file.end(manifest, 'all');
      await file.close();
    };
    const asked = async (filter: string): Promise<{ stdout: string[]; stderr: string[] }> => {
      const [stdout, stderr] = [new PassThrough(), new PassThrough()];
      const io = { stdout, stderr, env: {}, interrupt: new AbortController().signal, lookUp: () => Promise.resolve([]) };
      assert.equal(await readDumpFile({ path, words: [filter], output: 'json' }, io), 0);
      const [out, err] = [stdout, stderr].map((stream) =>
        String(stream.read() ?? '')
          .split('\n')
          .slice(0, -1),
      );
      return { stdout: out as string[], stderr: err as string[] };
    };
    const shown = async (filter: string) => (await asked(filter)).stdout.length;
    const told = async (filter: string) => (await asked(filter)).stderr;
    await write({ ...MANIFEST, vxlanPort: 8472 });
    for (const [filter, count] of [
      ['dst host 10.96.0.10', 1],
      ['not host 10.96.0.10', 0],
      ['tcp dst port 6379 and tcp dst port 6380', 1],
      ['dst host 10.244.3.2 and svc redis-master', 1],
      ['src host 10.244.3.2', 0],
      ['udp port 8472', 1],
      ['outer dst port 8472 and inner tcp', 1],
      ['outer host 172.18.0.3 and not inner host 172.18.0.3', 1],
      ['inner udp', 0],
      ['tcp[tcpflags] = tcp-syn and translated', 1],
    ] as const)
      assert.equal(await shown(filter), count, filter);
    // It has 60 bytes, of which 44 are recorded.
    assert.deepEqual(
      [await told('tcp[30] = 1'), await told('tcp[60] = 1'), await told('udp[30] = 1')],
      [
        [
          'ktrace: 1 record read, 0 shown, 1 not matched by the filter (1 not decided, for want of captured bytes)',
          'ktrace: 1 packet was captured shorter than the filter reads, up to byte 51 from the IP header on, and not matched: of a recorded packet there are the headers alone',
        ],
        [
          'ktrace: "tcp[60] = 1" matches nothing: it reads up to byte 81 from the IP header on at least, and of a recorded packet there are the headers alone',
          'ktrace: 1 record read, 0 shown, 1 not matched by the filter',
        ],
        [
          'ktrace: "udp[30] = 1" matches nothing: it reads up to byte 51 from the IP header on at least, and of a recorded packet there are the headers alone',
          'ktrace: 1 record read, 0 shown, 1 not matched by the filter',
        ],
      ],
    );
    // Of a dump that does not say it the port is not known.
    await write(MANIFEST);
    assert.deepEqual([await shown('udp port 8472'), await shown('outer udp and host 10.96.0.10')], [0, 1]);
  });

  test('tells where it is damaged, behind everything else of it', async (t) => {
    const path = await written(t);
    const bytes = readFileSync(path);
    const at = Math.floor(bytes.length / 2);
    bytes[at] = (bytes[at] ?? 0) ^ 1;
    writeFileSync(path, bytes);
    const { events, code } = await read(path);
    assert.equal(code, 'KTRACE_E_DUMP_DAMAGED');
    assert.ok(events.length > 0 && events.length < 3000);
  });
});

test('a capture made of records has each packet once, with its bytes, interface and time', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'ktrace-capture-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const bytes = Buffer.from('4500001c00010000400100000a0000010a0000020800000000010001', 'hex');
  const one = packet({
    ...{ id: 'p1', proto: 'icmp', len: 1028, src: pod('web', '10.0.0.1', 'host1'), dst: { ip: '10.0.0.2' } },
    ...{ hops: [hop('host1', 'veth1', 'in', 0)], time: '2026-11-22T08:45:00.123456789Z' },
    headers: [bytes.toString('base64')],
  });
  const writer = new CaptureWriter();
  const told: KtraceEvent[] = [one, { ...one, amends: true }, { ...one, id: 'p2' }, ...flows.slice(0, 2)];
  const blocks = [writer.begin(), ...told.flatMap((event) => writer.of(event) ?? []), writer.end()];
  const path = join(folder, 'a.pcapng');
  writeFileSync(path, Buffer.concat(blocks));
  const packets: CapturedPacket[] = [];
  for await (const one of readCapture(path)) packets.push(one);
  assert.deepEqual(
    packets.map(({ interfaceName, timeNs }) => [interfaceName, timeNs]),
    [1, 2].map(() => ['host1/veth1', BigInt(Date.parse('2026-11-22T08:45:00Z')) * 1_000_000n + 123_456_789n]),
  );
});

test('a capture has what each node lost, also where it has no packet of that node', () => {
  const writer = new CaptureWriter();
  const lost = (node: string, count: number, second: number): KtraceEvent => {
    const to = `2026-11-22T08:45:0${second}.000000000Z`;
    return { v: 1, kind: 'lost', node, stage: 'recorder', count, from: to, to };
  };
  for (const event of [lost('host1', 3, 1), lost('host2', 4, 2), lost('host1', 5, 3)]) assert.equal(writer.of(event), undefined);
  const end = writer.end();
  const blocks: Buffer[] = [];
  for (let at = 0; at < end.length; at += end.readUInt32LE(at + 4)) blocks.push(end.subarray(at, at + end.readUInt32LE(at + 4)));
  // An interface, then its statistics: the number of the interface, the time, an option with the count.
  assert.deepEqual(
    blocks.map((block) => block.readUInt32LE(0)),
    [1, 5, 1, 5],
  );
  assert.deepEqual([blocks[0]?.includes('host1/stack'), blocks[2]?.includes('host2/stack')], [true, true]);
  const timeNs = BigInt(Date.parse('2026-11-22T08:45:03Z')) * 1_000_000n;
  assert.deepEqual(
    [blocks[1], blocks[3]].map((block) => [
      block?.readUInt32LE(8),
      (BigInt(block?.readUInt32LE(12) ?? 0) << 32n) + BigInt(block?.readUInt32LE(16) ?? 0),
      block?.readBigUInt64LE(24),
    ]),
    [
      [0, timeNs, 8n],
      [1, timeNs, 4n],
    ],
  );
});
