import assert from 'node:assert/strict';
import { PassThrough } from 'node:stream';
import { test } from 'node:test';
import { DumpOutput } from '../../../src/client/output/dump-output.ts';
import { FollowOutput } from '../../../src/client/output/follow-output.ts';
import type { TextStyle } from '../../../src/client/render/lines/printer.ts';
import { onlyNamespace } from '../../../src/client/render/target-text.ts';
import type { Target } from '../../../src/event/target.ts';
import { hop, packet, pod } from '../events.ts';

const HOPS = [hop('host1', 'veth1a2b', 'in', 0), hop('host1', 'veth9', 'out', 12_000)];
const PACKET = packet({
  id: '1',
  time: '2026-11-22T08:45:00.123456789Z',
  src: pod('web-0', '10.244.1.2', 'host1', 41512),
  dst: pod('db-0', '10.244.1.3', 'host1', 5432),
  tcp: { flags: 'S', seq: 1, ack: 0 },
  hops: HOPS,
  verdict: 'delivered',
});
const FULL = 'host1 default/web-0:41512 -> default/db-0:5432 tcp S veth1a2b>veth9 delivered';

function terminal(columns: number | undefined) {
  const stdout = Object.assign(new PassThrough(), {
    isTTY: columns !== undefined,
    ...(columns === undefined ? {} : { columns }),
  });
  return { stdout, stderr: new PassThrough(), env: {} };
}

const handler = { full: () => undefined, drained: () => undefined, gone: () => undefined };

async function followed(columns: number | undefined, style: TextStyle = {}, output: 'text' | 'wide' = 'text'): Promise<string> {
  const io = terminal(columns);
  const following = new FollowOutput({ color: false, timestamps: 'utc', output, here: 'default', ...style }, io, handler);
  following.tell(PACKET);
  await following.end();
  return String(io.stdout.read());
}

async function dumped(columns: number | undefined, targets: Target[], style: TextStyle = {}): Promise<string> {
  const io = terminal(columns);
  const dump = new DumpOutput({ color: false, timestamps: 'utc', output: 'text', ...style }, io);
  dump.describe({ manifest: { v: 1, made: '', targets, since: '', until: '', nodes: [], missing: [] } });
  await dump.tell(PACKET);
  await dump.end();
  return String(io.stdout.read());
}

test('a terminal has lines in columns; a pipe, --no-trunc and -o wide have all of it', async () => {
  const time = '2026-11-22T08:45:00.123Z';
  assert.equal(await followed(120), `${time} host1 web-0:41512 -> db-0:5432 tcp S ✓\n`);
  assert.equal(await followed(50), `${time} host1 web-0:41512\n${' '.repeat(time.length + 1)}-> db-0:5432 tcp S ✓\n`);
  // `kubectl attach` from where there is no terminal tells a width of 1.
  for (const none of [undefined, 0, 1]) assert.equal(await followed(none), `${time} ${FULL}\n`);
  assert.equal(await followed(120, { noTrunc: true }), `${time} ${FULL}\n`);
  assert.match(await followed(120, {}, 'wide'), /host1\/veth1a2b in \+0µs, host1\/veth9 out \+12µs delivered\n$/);
});

test('times are written as asked, on a terminal and in a pipe', async () => {
  for (const columns of [120, undefined]) {
    assert.match(await followed(columns, { timestamps: 'date' }), /^2026-11-2\d \d\d:\d\d:00\.123 host1 /);
    assert.match(await followed(columns, { timestamps: undefined }), /^\d\d:\d\d:00\.123 host1 /);
  }
});

test('a dump on a terminal leaves out the namespace that it is of, as a follow does', async () => {
  const of: Target[] = [{ kind: 'pod', namespace: 'default', name: 'web-0' }];
  assert.match(await dumped(120, of), / web-0:41512 -> db-0:5432 tcp S ✓\n$/);
  assert.match(await dumped(120, [{ kind: 'all' }]), / default\/web-0:41512 -> default\/db-0:5432 tcp S ✓\n$/);
  assert.ok((await dumped(undefined, of)).endsWith(`${FULL}\n`));
  assert.ok((await dumped(120, of, { noTrunc: true })).endsWith(`${FULL}\n`));
});

test('one namespace is followed when all targets are in it', () => {
  const inDefault: Target[] = [
    { kind: 'pod', namespace: 'default', name: 'a' },
    { kind: 'service', namespace: 'default', name: 'b' },
    { kind: 'selector', namespace: 'default', selector: 'app=web' },
    { kind: 'namespace', name: 'default' },
  ];
  assert.equal(onlyNamespace(inDefault), 'default');
  const others: Target[] = [
    { kind: 'namespace', name: 'kube-system' },
    { kind: 'pod', namespace: 'shop', name: 'a' },
    { kind: 'node', name: 'default' },
    { kind: 'selector', selector: 'app=web' },
    { kind: 'all' },
  ];
  for (const other of others) assert.equal(onlyNamespace([...inDefault, other]), undefined, JSON.stringify(other));
  for (const other of others.slice(2)) assert.equal(onlyNamespace([other]), undefined, JSON.stringify(other));
});
