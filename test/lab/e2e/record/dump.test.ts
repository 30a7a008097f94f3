import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, suite, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { ToldService } from '../../../../src/client/merge/told-services.ts';
import { endsOf } from '../../../../src/event/ends.ts';
import type { FlowEvent, KtraceEvent, PacketEvent } from '../../../../src/event/types.ts';
import { callApi } from '../../../../src/lab/client/api-client.ts';
import type { Lab } from '../../../../src/lab/lab.ts';
import { removeLab } from '../../../../src/lab/machine/remove.ts';
import type { LabPod } from '../../../../src/lab/plan/plan.ts';
import { byId, parsed } from '../../../client/render/html-page.ts';
import { before } from '../../../support/evidence.ts';
import { until } from '../../../support/until.ts';
import { labUp, randomLabName, SKIP } from '../../support/lab-fixture.ts';

const KTRACE = fileURLToPath(new URL('../../../../bin/ktrace', import.meta.url));
const DEAD = 'frontend-88237173-jdfgg';

interface Ran {
  code: number | null;
  stdout: string;
  stderr: string;
}

suite('what a lab has recorded', { skip: SKIP }, () => {
  const name = randomLabName();
  const folder = mkdtempSync(join(tmpdir(), 'ktrace-dump-'));
  let lab: Lab;
  let dead: LabPod;
  let born: LabPod;

  const run = (...argv: string[]): Promise<Ran> => start(KTRACE, argv);

  function start(program: string, argv: string[]): Promise<Ran> {
    const child = spawn(program, argv, { stdio: ['ignore', 'pipe', 'pipe'] });
    const ran: Ran = { code: null, stdout: '', stderr: '' };
    // A character may lie in two pieces.
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      ran.stdout += text;
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      ran.stderr += text;
    });
    return new Promise((resolve) => child.on('close', (code) => resolve({ ...ran, code })));
  }

  const shell = (line: string): Promise<Ran> => start('sh', ['-c', line]);
  const dump = (...argv: string[]): Promise<Ran> => run('dump', '--kubeconfig', lab.kubeconfig, ...argv);

  async function records(...argv: string[]): Promise<(PacketEvent | FlowEvent)[]> {
    const { code, stdout, stderr } = await dump('-o', 'json', ...argv);
    assert.equal(code, 0, stderr);
    return recordsIn(stdout);
  }

  async function services(...argv: string[]): Promise<ToldService[]> {
    const { code, stdout, stderr } = await dump('--services', '-o', 'json', ...argv);
    assert.equal(code, 0, stderr);
    return stdout
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line) as ToldService);
  }

  /** Whether the dump of a pod has a translation of its own to the Service. */
  const hasService = (events: (PacketEvent | FlowEvent)[]): boolean =>
    events.some((event) => event.nat?.some(({ service }) => service?.startsWith('default/redis-')));

  before(async () => {
    lab = await labUp({ name, bound: true, records: true });
    dead = lab.pod(DEAD);
    await until('the pod is recorded', async () => (await dump(`pod/${DEAD}`)).code === 0);
    await until('its translations are recorded', async () => hasService(await records(`pod/${DEAD}`)));
    // Mid-transfer: a connection that sends without end, and a recorder that gets no chance to end well.
    const peer = lab.pod('redis-slave-132015689-k0rk5');
    void lab.exec(`pod/${DEAD}`, ['timeout', '60', 'ping', '-i', '0.05', '-s', '1000', peer.ip]).catch(() => undefined);
    await until('the transfer is recorded', async () => (await records(`pod/${DEAD}`, 'icmp')).length > 10);
    await lab.killAgent('host1');
    await lab.startAgent('host1');
    await until(
      'the pings are recorded again',
      async () => {
        const after = new Date(Date.now() - 1500).toISOString();
        return (await dump('-o', 'json', `pod/${DEAD}`, 'icmp', '--since', after)).stdout.includes('"icmp"');
      },
      30_000,
    );
    await lab.deletePod(DEAD);
    born = await lab.createPod({ ...dead, name: 'frontend-88237173-newer', uid: '' });
    assert.equal(born.ip, dead.ip);
    await lab.exec('pod/frontend-88237173-newer', ['ping', '-c', '5', '-i', '0.2', peer.ip]);
    await until('the new pod is recorded', async () => hasService(await records('pod/frontend-88237173-newer')));
  });
  after(async () => {
    await removeLab(name);
    rmSync(folder, { recursive: true, force: true });
  });

  test('a dead pod is told by its name with its flows, translations and last packets, and nothing of the one that has its address', async () => {
    const events = await records(`pod/${DEAD}`);
    assert.ok(hasService(events));
    assert.ok(events.some(({ kind }) => kind === 'flow') && events.some(({ kind }) => kind === 'packet'));
    for (const event of events) {
      const pods = endsOf(event).flatMap(({ pod }) => pod ?? []);
      assert.ok(!pods.some(({ uid }) => uid === born.uid), JSON.stringify(event));
    }
    const pings = events.filter((event) => event.kind === 'packet' && event.proto === 'icmp') as PacketEvent[];
    assert.ok(pings.length > 10);
    // Both ends' nodes saw them, and they are one record.
    assert.ok(pings.some(({ nodes, hops }) => nodes.length === 2 && hops.some(({ node }) => node === 'host3')));
    const others = await records('pod/frontend-88237173-newer');
    const last = Math.max(...events.map(timeOf));
    assert.ok(others.every((event) => !endsOf(event).some(({ pod }) => pod?.uid === dead.uid)));
    assert.ok(Math.max(...others.map(timeOf)) > last);
  });

  test('the time that nothing was recorded is told, and --strict ends with 5', async () => {
    const { code, stderr } = await dump(`pod/${DEAD}`, '--strict');
    assert.equal(code, 5, stderr);
    assert.match(stderr, /host1.*nothing was recorded from .* to /);
  });

  test('a filter chooses among what was recorded, also by bytes', async () => {
    const all = await records(`pod/${DEAD}`);
    const echoes = await records(`pod/${DEAD}`, 'icmp[icmptype] == icmp-echo');
    assert.ok(echoes.length > 0 && echoes.length < all.length);
    assert.ok(echoes.every((event) => event.kind === 'flow' || event.icmp?.name === 'echo-request'));
    const large = await records(`pod/${DEAD}`, 'ip[2:2] > 1000 and icmp');
    assert.ok(large.length > 0);
  });

  test('a filter is asked before and after translation and of tunnels, of nodes and of a file alike', async () => {
    const file = join(folder, 'filtered.ktrace');
    const written = async () => recordsIn((await dump(`pod/${DEAD}`, '-w', file, '-o', 'json')).stdout);
    const readBy = async (filter: string) => recordsIn((await run('read', file, '-o', 'json', filter)).stdout);
    const nat = (await written()).flatMap((event) => event.nat?.filter(({ kind }) => kind === 'dnat') ?? [])[0];
    assert.ok(nat?.service !== undefined);
    for (const filter of [
      `dst host ${nat.before.ip}`,
      `host ${nat.after.ip} and svc ${nat.service.split(':', 1)[0]}`,
      'udp port 8472',
      'outer dst port 8472 and inner tcp',
    ]) {
      // The ends of a dead pod's conversations are still recorded: what a file of before has, the nodes have, and what they have, a file of after.
      const before = await readBy(filter);
      const chosen = await records(`pod/${DEAD}`, filter);
      await written();
      const after = await readBy(filter);
      assert.ok(before.length > 0, filter);
      assert.deepEqual(missingIn(chosen, before), [], `of a file, not of the nodes: ${filter}`);
      assert.deepEqual(missingIn(after, chosen), [], `of the nodes, not of a file: ${filter}`);
    }
  });

  test('a file holds what was printed, for its owner alone, and read prints it bit for bit', async () => {
    const file = join(folder, 'one.ktrace');
    for (const output of ['text', 'wide', 'json']) {
      const dumped = await dump(`pod/${DEAD}`, '-w', file, '-o', output);
      assert.equal(dumped.code, 0, dumped.stderr);
      assert.equal(statSync(file).mode & 0o777, 0o600);
      const read = await run('read', file, '-o', output);
      assert.equal(read.code, 0, read.stderr);
      assert.ok(dumped.stdout.length > 1000);
      assert.equal(read.stdout, dumped.stdout);
    }
    const filtered = await run('read', file, '-o', 'json', 'icmp[icmptype] == icmp-echoreply');
    assert.ok(recordsIn(filtered.stdout).length > 0);
    assert.ok(recordsIn(filtered.stdout).every((event) => event.kind === 'packet' && event.icmp?.name === 'echo-reply'));
  });

  test('as a capture it has each packet of the JSON, with the pods’ names, and tcpdump and tshark read it', async (t) => {
    const file = join(folder, 'two.ktrace');
    const dumped = await dump(`pod/${DEAD}`, '-w', file, '-o', 'json');
    assert.equal(dumped.code, 0, dumped.stderr);
    const packets = recordsIn(dumped.stdout).filter((event) => event.kind === 'packet' && event.amends !== true);
    const pcapng = join(folder, 'two.pcapng');
    const written = await shell(`${KTRACE} read ${file} -o pcapng > ${pcapng}`);
    assert.equal(written.code, 0, written.stderr);
    assert.doesNotMatch(written.stderr, /not in the capture/);
    const seen = await shell(`tcpdump -n -r ${pcapng} 2>/dev/null | wc -l`);
    assert.equal(Number(seen.stdout), packets.length);
    const echoes = packets.filter(
      (event) => event.kind === 'packet' && event.icmp?.name === 'echo-request' && event.proto === 'icmp',
    );
    const asked = await shell(`tcpdump -n -r ${pcapng} 'icmp[icmptype] == icmp-echo' 2>/dev/null | wc -l`);
    assert.equal(Number(asked.stdout), echoes.length);
    const bytes = readFileSync(pcapng).toString('latin1');
    for (const text of [`${DEAD}.default`, 'host1/', 'svc default/redis-master', 'delivered'])
      assert.ok(bytes.includes(text), text);
    if ((await shell('command -v tshark')).code !== 0) return t.diagnostic('tshark is not here: only tcpdump was asked');
    const names = await shell(`tshark -r ${pcapng} -N n -T fields -e ip.src_host -e frame.interface_name 2>/dev/null`);
    assert.match(names.stdout, new RegExp(`${DEAD}\\.default\\s+host1/`));
    assert.equal(names.stdout.trimEnd().split('\n').length, packets.length);
  });

  test('as a page it has the pod’s flows, translations and drawn ways, the gap, and nothing of the one that has its address', async () => {
    const file = join(folder, 'three.ktrace');
    const dumped = await dump(`pod/${DEAD}`, '-w', file, '-o', 'html');
    assert.equal(dumped.code, 0, dumped.stderr);
    const read = await run('read', file, '-o', 'html');
    assert.equal(read.code, 0, read.stderr);
    assert.equal(read.stdout, dumped.stdout);
    const page = parsed(dumped.stdout);
    assert.deepEqual(page.errors, []);
    assert.match(byId(page, 'summary').text, new RegExp(`pod default/${DEAD}`));
    assert.match(byId(page, 'missing').text, /host1: nothing was recorded from/);
    assert.match(byId(page, 'peers').text, new RegExp(`default/${DEAD}.*default/redis-slave-132015689-k0rk5`, 's'));
    assert.match(byId(page, 'translations').text, /default\/redis-.*KUBE-SVC-/s);
    const drawn = page.elements.filter(({ tag }) => tag === 'figure').map(({ text }) => text);
    // Both nodes in one drawing, and a translation with its chains.
    assert.ok(
      drawn.some((text) => /node host1.*node host3/s.test(text)),
      `${drawn.length}`,
    );
    assert.ok(drawn.some((text) => /received from .*DNAT for default\/redis-.*KUBE-SEP-/s.test(text)));
    assert.ok(!dumped.stdout.includes('frontend-88237173-newer'));
  });

  test('a Service is told with its address and whom it had as endpoints when, also when it is gone', async () => {
    const [frontend] = await services('svc/frontend');
    assert.deepEqual(
      frontend?.states[0]?.ports.map(({ port, proto }) => [port, proto]),
      [[80, 'tcp']],
    );
    const ends = (uid: string) =>
      (frontend?.endpoints ?? []).filter(({ pod }) => pod?.uid === uid).map(({ to }) => to !== undefined);
    assert.deepEqual([...new Set(ends(dead.uid))], [true]);
    assert.deepEqual([...new Set(ends(born.uid))], [false]);
    const path = '/api/v1/namespaces/default/services';
    const spec = { type: 'ClusterIP', clusterIP: '10.96.200.1', ports: [{ name: 'x', port: 81, protocol: 'TCP' }] };
    await callApi(lab.directory, 'POST', path, { kind: 'Service', apiVersion: 'v1', metadata: { name: 'ghost' }, spec });
    await until('it is recorded', async () => (await services('svc/ghost').catch(() => [])).length === 1);
    await callApi(lab.directory, 'DELETE', `${path}/ghost`);
    await until('its end is recorded', async () => (await services('svc/ghost'))[0]?.states[0]?.to !== undefined);
    const text = await dump('svc/ghost', '--services');
    assert.match(text.stdout, /^default\/ghost {2}ClusterIP {2}10\.96\.200\.1 {2}x 81\/tcp {2}from \S+ to \S+\n {2}no endpoint/);
    const unknown = await dump('svc/never-was', '--services');
    assert.deepEqual([unknown.code, unknown.stdout], [1, '']);
    assert.match(unknown.stderr, /KTRACE_E_NOT_RECORDED/);
  });

  test('the dump of a Service has both ends’ views of its packets, and its file says which endpoints it had', async () => {
    const file = join(folder, 'service.ktrace');
    const dumped = await dump('svc/redis-master', '-w', file, '-o', 'json');
    assert.equal(dumped.code, 0, dumped.stderr);
    const translated = recordsIn(dumped.stdout).filter(
      (event) => event.kind === 'packet' && event.nat?.some(({ service }) => service?.startsWith('default/redis-master')),
    ) as PacketEvent[];
    assert.ok(
      translated.some(({ hops }) => new Set(hops.map(({ node }) => node)).size === 2),
      'its endpoint is on another node',
    );
    const { code, stdout, stderr } = await run('read', file, '--services', '-o', 'json');
    assert.equal(code, 0, stderr);
    const told = stdout
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as ToldService);
    const master = told.find(({ name: service }) => service === 'redis-master');
    assert.deepEqual([...new Set(master?.endpoints.map(({ pod }) => pod?.name))], ['redis-master-343230949-2qrp7']);
  });

  test('a pod that never was is told with those that were, and a time before the recording with what is recorded', async () => {
    const unknown = await dump('pod/nobody-here');
    assert.equal(unknown.code, 1);
    assert.match(unknown.stderr, /KTRACE_E_NOT_RECORDED/);
    assert.match(unknown.stderr, /default\/frontend-88237173-jdfgg/);
    const early = await dump(`pod/${DEAD}`, '--since', '2020-01-01T00:00:00Z', '--until', '2020-01-02T00:00:00Z');
    assert.equal(early.code, 1);
    assert.match(early.stderr, /What is recorded goes from 20/);
  });

  test('a dump that is interrupted ends with 130, and its file says that it is not all', async () => {
    const file = join(folder, 'four.ktrace');
    const child = spawn(KTRACE, ['dump', '--kubeconfig', lab.kubeconfig, '-A', '-w', file, '-o', 'text'], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let stderr = '';
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr += text;
    });
    const ended = new Promise<number | null>((resolve) => child.on('close', (code) => resolve(code)));
    // It waits for its reader when it is interrupted.
    await new Promise((resolve) => child.stdout.once('readable', resolve));
    child.kill('SIGINT');
    child.stdout.resume();
    assert.equal(await ended, 130, stderr);
    assert.match(stderr, /interrupted.*KTRACE_N_DUMP_INTERRUPTED/);
    const read = await run('read', file, '-o', 'html');
    assert.equal(read.code, 0, read.stderr);
    assert.match(byId(parsed(read.stdout), 'missing').text, /interrupted.*KTRACE_N_DUMP_INTERRUPTED/);
  });

  test('a node that is down is named, its part is missing, and --strict ends with 5', async () => {
    await lab.killAgent('host2');
    try {
      const { code, stderr } = await dump(`pod/${DEAD}`, '--strict');
      assert.equal(code, 5, stderr);
      assert.match(stderr, /missing: host2/);
    } finally {
      await lab.startAgent('host2');
    }
  });
});

/** Those of `some` that `all` lack. */
function missingIn(all: (PacketEvent | FlowEvent)[], some: (PacketEvent | FlowEvent)[]): (PacketEvent | FlowEvent)[] {
  const ids = new Set(all.map(({ id }) => id));
  return some.filter(({ id }) => !ids.has(id));
}

function recordsIn(stdout: string): (PacketEvent | FlowEvent)[] {
  const lines = stdout.split('\n').filter((line) => line !== '');
  return lines.map((line) => JSON.parse(line) as KtraceEvent).filter((event) => event.kind === 'packet' || event.kind === 'flow');
}

function timeOf(event: PacketEvent | FlowEvent): number {
  return Date.parse(event.kind === 'packet' ? event.time : event.endTime);
}
