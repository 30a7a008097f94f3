import assert from 'node:assert/strict';
import { after, suite, test } from 'node:test';
import { AUDIENCE } from '../../../src/access/scope.ts';
import type { PacketEvent } from '../../../src/event/types.ts';
import { agentSocket } from '../../../src/lab/agents.ts';
import { signAccountToken } from '../../../src/lab/api/auth/account-tokens.ts';
import { callApi } from '../../../src/lab/client/api-client.ts';
import type { Lab } from '../../../src/lab/lab.ts';
import { removeLab } from '../../../src/lab/machine/remove.ts';
import { readTokens } from '../../../src/lab/machine/tokens.ts';
import type { ApiObject } from '../../../src/lab/plan/types.ts';
import { StreamClient, unixUrl } from '../../agent/serve/stream-client.ts';
import { before } from '../../support/evidence.ts';
import { type KtraceProcess, runKtrace, startFollow } from '../../support/ktrace-process.ts';
import { until } from '../../support/until.ts';
import { labUp, randomLabName, SKIP } from '../support/lab-fixture.ts';

const NODE = 'host1';
/** UDP over IPv4 without options: where a payload begins. */
const HEADERS = 28;
/** A DNS query: its flags (RFC 1035 section 4.1.1) are two bytes behind its id, and say that it is no response. */
const QUERY = 'udp[10:2] & 0x8000 == 0 and udp port 53';

suite('a follow with a snap length', { skip: SKIP }, () => {
  const name = randomLabName();
  const running: KtraceProcess[] = [];
  let lab: Lab;

  const follow = (...argv: string[]): KtraceProcess => {
    const started = startFollow(lab, '-A', '-o', 'json', '--packets', ...argv);
    running.push(started);
    return started;
  };
  const grant = (...argv: string[]) => runKtrace(['grant', ...argv, '--kubeconfig', lab.kubeconfig]);
  const asViewer = (...argv: string[]) =>
    runKtrace(['follow', '--kubeconfig', lab.kubeconfig, '--context', 'ktrace-lab-viewer', '-o', 'json', ...argv]);
  const bytesOf = ({ hops }: PacketEvent): Buffer[] =>
    hops.flatMap(({ data }) => (data === undefined ? [] : [Buffer.from(data, 'base64')]));
  /** Of IPv4: tcpdump's `udp[…]` is that alone. */
  const isDns = ({ proto, dst, src }: PacketEvent): boolean =>
    proto === 'udp' && (dst.port === 53 || src.port === 53) && !src.ip.includes(':');

  before(async () => {
    lab = await labUp({ name, bound: true, records: true });
  });
  after(async () => {
    await Promise.all(running.map((one) => one.kill()));
    await removeLab(name);
  });

  test('is refused to who was not granted payloads, with the line that grants them', async () => {
    for (const [argv, line] of [
      [['-n', 'default'], /: ktrace grant default --payloads --user lab-viewer$/m],
      [['-A'], /: ktrace grant --admin --payloads --user lab-viewer$/m],
    ] as const) {
      const { code, stderr, stdout } = await asViewer(...argv, '-s', '64');
      assert.equal(code, 4, stderr);
      assert.match(stderr, /KTRACE_E_NOT_AUTHORIZED/);
      assert.match(stderr, line);
      assert.equal(stdout, '');
    }
    assert.equal((await asViewer('-n', 'default', '-c', '1')).code, 0, 'without it nothing has changed');
    const wrong = await asViewer('-s', '1501');
    assert.equal(wrong.code, 2);
    assert.match(wrong.stderr, /Expected bytes from the IP header on, 1 to 1500 for --snaplen, got "1501"/);
  });

  test('without one a filter on payload is warned of, matches nothing, and tells how many packets it would have decided by which length', async () => {
    const one = follow(QUERY);
    await one.until('the warning', () =>
      /"udp\[10:2\] & 32768 = 0" matches nothing: .*; --snaplen 32 would capture them/.test(one.stderr),
    );
    await one.until('the notice', () => one.notices.some(({ code }) => code === 'KTRACE_N_FILTER_BYTES'));
    assert.equal((await one.interrupt()).code, 130);
    assert.deepEqual(one.packets, []);
    const [, packets] =
      /ktrace: (\d+) packets? w\w+ captured shorter .* byte 32 .*; --snaplen 32 would have decided/.exec(one.stderr) ?? [];
    assert.ok(Number(packets) > 0, one.stderr);
  });

  test('sees, and is filtered by, the bytes up to its own limit, whatever another one asks for at the same time', async () => {
    for (const argv of [['--admin'], ['default']]) {
      const { code, stderr } = await grant(...argv, '--payloads', '--user', 'lab-admin');
      assert.equal(code, 0, stderr);
    }
    const most = follow('-s', '1500', QUERY);
    const some = follow('-s', '40', QUERY);
    // The id alone: of each datagram the two bytes behind its header.
    const short = follow('-s', '30', QUERY);
    const id = follow('-s', '30', 'udp[8:2] >= 0 and udp port 53');
    const none = follow(QUERY);
    const isWithData = (one: KtraceProcess) => one.settled.length >= 5;
    for (const one of [most, some, id]) await one.until('queries with their bytes', () => isWithData(one));
    await none.until('the notice', () => none.notices.some(({ code }) => code === 'KTRACE_N_FILTER_BYTES'));
    await short.until('the notice', () => short.notices.some(({ code }) => code === 'KTRACE_N_FILTER_BYTES'));

    // Who has no right to payloads, on the node, while the kernel captures 1500 bytes: asks for the data, and gets the headers.
    const key = readTokens(lab.directory).signingKey;
    const account = await callApi<ApiObject>(lab.directory, 'GET', '/api/v1/namespaces/ktrace/serviceaccounts/ktrace-admin');
    const { token } = signAccountToken(key, account, [AUDIENCE], 600);
    const plain = new StreamClient(unixUrl(agentSocket(lab.directory, NODE)), { autoCredit: true });
    await plain.hello();
    plain.say({ type: 'auth', token });
    await plain.subscribe({ targets: [{ kind: 'all' }], units: 'packets', data: true });
    plain.say({ type: 'credit', events: 10_000 });
    const dns = () => plain.events.filter((event): event is PacketEvent => event.kind === 'packet' && isDns(event));
    await until('DNS is seen without payload', () => dns().length >= 5);
    for (const packet of dns()) for (const bytes of bytesOf(packet)) assert.equal(bytes.length, HEADERS);
    await plain.leave();
    const denied = new StreamClient(unixUrl(agentSocket(lab.directory, NODE)));
    await denied.hello();
    denied.say({ type: 'auth', token });
    denied.say({ type: 'subscribe', targets: [{ kind: 'all' }], snapBytes: 29 });
    await denied.until(() => denied.closed !== undefined);
    assert.equal(denied.all('error')[0]?.code, 'KTRACE_E_NOT_AUTHORIZED');

    for (const one of [most, some, short, id, none]) {
      assert.equal((await one.interrupt()).code, 130, one.stderr);
      assert.match(one.stderr, /\b0 lost\b/);
    }
    const queries = most.packets;
    assert.ok(queries.length > 0 && queries.every(isDns));
    for (const [one, limit] of [
      [most, 1500],
      [some, 40],
      [id, 30],
    ] as const)
      for (const packet of one.settled) {
        const all = bytesOf(packet);
        assert.ok(all.length > 0, JSON.stringify(packet));
        for (const bytes of all) assert.equal(bytes.length, Math.min(limit, packet.len), JSON.stringify(packet));
      }
    for (const packet of [...most.settled, ...some.settled]) {
      for (const bytes of bytesOf(packet)) {
        assert.equal(bytes.readUInt16BE(HEADERS + 2) & 0x8000, 0, 'a query');
        assert.equal(packet.dst.port, 53);
      }
    }
    assert.ok(
      id.packets.some(({ src }) => src.port === 53),
      'answers have an id, too',
    );
    assert.deepEqual([short.packets, none.packets], [[], []]);
    assert.match(short.stderr, /captured shorter .*; --snaplen 32 would have decided/);
  });

  test('changes nothing of what is recorded: headers alone', async () => {
    const most = follow('-s', '1500');
    await most.until('packets', () => most.packets.filter(isDns).length >= 5);
    const key = readTokens(lab.directory).signingKey;
    const account = await callApi<ApiObject>(lab.directory, 'GET', '/api/v1/namespaces/ktrace/serviceaccounts/ktrace-admin');
    const client = new StreamClient(unixUrl(agentSocket(lab.directory, NODE)));
    await client.hello();
    client.say({ type: 'auth', token: signAccountToken(key, account, [AUDIENCE], 600).token });
    client.say({ type: 'recorded', targets: [{ kind: 'all' }] });
    await client.until(() => client.all('recorded').length > 0);
    client.say({ type: 'dump', targets: [{ kind: 'all' }], owners: [], sinceMs: Date.now() - 600_000, untilMs: Date.now() });
    client.say({ type: 'credit', events: 1_000_000 });
    await client.until(() => client.all('dumped').length > 0 || client.closed !== undefined);
    const records = client.all('records').flatMap(({ events }) => events);
    const dns = records.filter((event): event is PacketEvent => event.kind === 'packet' && isDns(event));
    assert.ok(dns.length >= 5, `${records.length} records`);
    for (const { headers = [] } of dns) for (const text of headers) assert.equal(Buffer.from(text, 'base64').length, HEADERS);
    await client.leave();
    assert.equal((await most.interrupt()).code, 130);
  });
});
