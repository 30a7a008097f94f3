import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { after, suite, test } from 'node:test';
import { loadNative } from '../../../../src/native/load.ts';
import { compile } from '../../../native/support.ts';
import { before } from '../../../support/evidence.ts';
import { until } from '../../../support/until.ts';
import { SKIP } from '../../support/lab-fixture.ts';
import { type Net, twoNodes } from '../../support/net.ts';
import { type NodeOptions, type NodeState, TracedNode, way } from '../../support/traced-node.ts';

const VETHS = 250;

/** The kernel's list. Of a link that another process is just making it says nothing yet (EAGAIN), and bpftool gives up there: then it is asked again. */
function list<T>(what: string): T[] {
  for (let again = 0; again < 100; again++) {
    const { status, stdout, stderr } = spawnSync('bpftool', ['-j', what, 'list'], { encoding: 'utf8' });
    if (status === 0) return JSON.parse(stdout) as T[];
    if (!stdout.includes('Resource temporarily unavailable')) assert.fail(`bpftool ${what} list: ${stdout}${stderr}`);
  }
  assert.fail(`bpftool ${what} list: the kernel has a link that is never made`);
}

suite('attachments of a node', { skip: SKIP }, () => {
  let net: Net;
  before(() => {
    net = twoNodes();
  });
  after(() => net.close());

  /** How many of the programs are attached to interfaces, by the kernel's own lists: of tcx links (of all namespaces), of filters. */
  const attached = ({ programIds }: NodeState): number => {
    const { ktrace_drop: _, ...tc } = programIds;
    const links = list<{ prog_id: number }>('link').filter(({ prog_id }) => Object.values(tc).includes(prog_id));
    const filters = (JSON.parse(net.exec('node1', 'bpftool', '-j', 'net')) as { tc: { name: string }[] }[]).flatMap(
      ({ tc }) => tc,
    );
    return links.length + filters.filter(({ name }) => name.startsWith('ktrace_')).length;
  };
  const loaded = ({ programIds }: NodeState) =>
    list<{ id: number }>('prog').filter(({ id }) => Object.values(programIds).includes(id));
  const ping = () => net.try('a', 'ping -n -c1 -W5 10.9.1.3');

  for (const attach of ['tcx', 'clsact'] as const) {
    const skip = attach === 'tcx' && !loadNative().tcxSupported() && 'this kernel has no tcx, which came with 6.6';
    test(`by ${attach} are there while somebody follows, and nothing is left afterwards`, { skip }, async (t) => {
      const node = await TracedNode.start(net, { node: 'node1', addresses: ['10.9.1.2'], attach });
      assert.equal(attached(await node.ask('state')), 0, 'nobody follows');
      const state = await node.ask('follow');
      assert.equal(state.attached, 3);
      t.diagnostic(`attached after ${state.tookMs.toFixed(0)} ms`);
      assert.equal(attached(state), 6, 'both directions of the uplink and of two pods');
      assert.ok(ping());
      await node.packet('the reply', ({ icmp }) => icmp?.name === 'echo-reply');

      const idle = await node.ask('unfollow');
      assert.equal(attached(idle), 0);
      assert.deepEqual(
        idle.hooks.slice(0, 2).map((hook) => hook.state),
        ['idle', 'idle'],
      );
      assert.equal(attached(await node.ask('follow')), 6, 'and again');
      const closing = await node.close();
      assert.equal(attached(closing), 0);
      // The kernel frees programs after a grace period.
      await until('its programs are unloaded', () => loaded(closing).length === 0);
      assert.doesNotMatch(net.exec('node1', 'tc', 'qdisc', 'show'), /clsact/);
    });

    test(`by ${attach} that SIGKILL left are gone with the next start`, { skip }, async () => {
      const killed = await TracedNode.following(net, { node: 'node1', addresses: ['10.9.1.2'], attach });
      const state = await killed.ask('state');
      assert.equal(attached(state), 6);
      await killed.kill();
      if (attach === 'tcx') await until('the kernel has taken the links down', () => attached(state) === 0);
      else assert.equal(attached(state), 6, 'filters outlive their process');
      const node = await TracedNode.start(net, { node: 'node1', addresses: ['10.9.1.2'], attach });
      assert.equal(attached(state), 0);
      await until('its programs are unloaded', () => loaded(state).length === 0);
      await node.close();
    });

    test(`by ${attach} see what another program drops, and hide nothing from it, whichever came first`, { skip }, async () => {
      const other = compile('other');
      const drop = (name: string) =>
        net.exec(
          'node1',
          'tc',
          'filter',
          'add',
          'dev',
          name,
          'ingress',
          'protocol',
          'ip',
          'pref',
          '10',
          'bpf',
          'da',
          'obj',
          other,
          'sec',
          'tc',
        );
      net.exec('node1', 'tc', 'qdisc', 'add', 'dev', 'veth-a', 'clsact');
      drop('veth-a');
      const node = await TracedNode.following(net, { node: 'node1', addresses: ['10.9.1.2', '10.9.1.3'], attach });
      net.exec('node1', 'tc', 'qdisc', 'replace', 'dev', 'veth-b', 'clsact');
      drop('veth-b');
      for (const [pod, to] of [
        ['a', '10.9.1.3'],
        ['b', '10.9.1.2'],
      ] as const) {
        assert.ok(!net.try(pod, `ping -n -c1 -W0.2 ${to}`));
        await node.packet(
          'the request',
          ({ icmp, dst, drop }) => icmp?.name === 'echo-request' && dst.ip === to && drop !== undefined,
          (request) =>
            assert.deepEqual(
              [way(request), request.drop?.reason],
              [`veth-${pod} in`, 'TC_INGRESS'],
              'the other one ran, and ours saw it',
            ),
        );
      }
      await node.close();
      const left = net.exec('node1', 'tc', 'filter', 'show', 'dev', 'veth-a', 'ingress');
      assert.match(left, /other_shot|other\.bpf\.o/, 'what is not ours stays');
      for (const pod of ['a', 'b']) net.exec('node1', 'tc', 'qdisc', 'del', 'dev', `veth-${pod}`, 'clsact');
    });
  }

  test('by clsact come back when somebody removes them, which followers are told', async () => {
    const node = await TracedNode.following(net, { node: 'node1', addresses: ['10.9.1.2'], attach: 'clsact' });
    net.exec('node1', 'tc', 'qdisc', 'del', 'dev', 'veth-a', 'clsact');
    net.exec('node1', 'tc', 'filter', 'del', 'dev', 'veth-b', 'egress');
    const notices = () => node.events.flatMap((event) => (event.kind === 'notice' ? [event] : []));
    await until('it is attached anew', async () => attached(await node.ask('state')) === 6);
    await until('both were told', () =>
      ['veth-a', 'veth-b'].every((name) =>
        notices().some(({ code, interfaces }) => code === 'KTRACE_N_REATTACHED' && interfaces?.includes(name)),
      ),
    );
    assert.ok(ping());
    await node.packet(
      'the reply',
      ({ icmp }) => icmp?.name === 'echo-reply',
      (reply) => assert.equal(way(reply), 'veth-b in, veth-a out'),
    );
    assert.equal(attached(await node.close()), 0);
    assert.doesNotMatch(net.exec('node1', 'tc', 'qdisc', 'show'), /clsact/);
  });

  test('by clsact come back when another agent that starts takes them for what a killed one left', async () => {
    const options: NodeOptions = { node: 'node1', addresses: ['10.9.1.2'], attach: 'clsact' };
    const node = await TracedNode.following(net, options);
    const other = await TracedNode.start(net, options);
    await until('it is attached anew', async () => attached(await node.ask('state')) === 6);
    assert.equal(attached(await other.ask('follow')), 12, 'both are there');
    await other.close();
    await until('it is attached anew', async () => attached(await node.ask('state')) === 6);
    assert.ok(ping());
    await node.packet('the reply', ({ icmp }) => icmp?.name === 'echo-reply');
    await node.close();
  });

  test('follow a new interface by the kernel’s message, in a time that is reported', async (t) => {
    const node = await TracedNode.following(net, { node: 'node1', addresses: ['10.9.1.2'] });
    const delays: number[] = [];
    net.add('late');
    for (let n = 0; n < 5; n++) {
      const name = `veth-l${n}`;
      const beforeMs = Date.now();
      net.join(['node1', name, '10.9.3.254/32'], ['late', `eth${n}`, '10.9.3.2/32']);
      const [link] = JSON.parse(net.exec('node1', 'ip', '-j', 'link', 'show', name)) as { ifindex: number }[];
      const attachedMs = await until(`${name} is attached`, async () => (await node.ask('state')).attachedAtMs[link!.ifindex]);
      delays.push(attachedMs - beforeMs);
    }
    t.diagnostic(`attached ${delays.join(', ')} ms after the command that makes it was begun`);
    for (let n = 0; n < 5; n++) net.ip('node1', `link del veth-l${n}`);
    const { attachFailures } = await until('the interfaces that went are forgotten', async () => {
      const state = await node.ask('state');
      return state.attached === 3 ? state : undefined;
    });
    assert.equal(attachFailures, 0);
    await node.close();
  });

  test(`are made for ${VETHS} veths in a time that is reported`, async (t) => {
    net.add('crowd');
    const lines = Array.from(
      { length: VETHS },
      (_, n) => `link add v${n} type veth peer name p${n} netns ${net.of('crowd')}\nlink set v${n} up`,
    );
    execFileSync('ip', ['-n', net.of('node1'), '-batch', '-'], { input: lines.join('\n') });
    const node = await TracedNode.start(net, { node: 'node1', addresses: ['10.9.1.2'] });
    const state = await node.ask('follow');
    assert.equal(state.attached, VETHS + 3);
    assert.equal(state.attachFailures, 0);
    const started = performance.now();
    const idle = await node.ask('unfollow');
    const detachMs = performance.now() - started;
    assert.equal(attached(idle), 0);
    t.diagnostic(`attached in ${state.tookMs.toFixed(0)} ms, detached in ${detachMs.toFixed(0)} ms`);
    await node.close();
  });
});
