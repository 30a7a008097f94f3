import assert from 'node:assert/strict';
import { after, suite, test } from 'node:test';
import { before } from '../../../support/evidence.ts';
import { until } from '../../../support/until.ts';
import { isAccounted } from '../../support/kernel.ts';
import { SKIP } from '../../support/lab-fixture.ts';
import { type Net, twoNodes } from '../../support/net.ts';
import { TracedNode } from '../../support/traced-node.ts';

suite('a kernel that lacks something', { skip: SKIP }, () => {
  let net: Net;
  before(() => {
    net = twoNodes();
  });
  after(() => net.close());

  test('without conntrack’s types traces on without translations, and says so', async () => {
    net.exec(
      'node1',
      'iptables',
      '-t',
      'nat',
      '-A',
      'PREROUTING',
      '-d',
      '10.96.0.11',
      '-p',
      'icmp',
      '-j',
      'DNAT',
      '--to',
      '10.9.2.2',
    );
    const node = await TracedNode.following(net, { node: 'node1', addresses: ['10.9.1.2'], withoutConntrack: true });
    assert.ok(net.try('a', 'ping -n -c1 10.96.0.11'));
    const packet = await node.packet('the reply', (each) => each.icmp?.name === 'echo-reply');
    assert.equal(packet.nat, undefined);
    const notices = node.events.filter((event) => event.kind === 'notice').map(({ code }) => code);
    assert.deepEqual(
      notices.filter((code) => code !== 'KTRACE_N_NO_PROBES'),
      ['KTRACE_N_NO_CONNTRACK'],
    );
    const { hooks } = await node.close();
    assert.equal(hooks.find(({ name }) => name === 'conntrack')?.state, 'unavailable');
  });

  test('conntrack that comes while somebody follows is taken up: translations are told, and that they are', async () => {
    const more = { withoutConntrack: 'at-first', units: 'packets' } as const;
    const node = await TracedNode.following(net, { node: 'node1', addresses: ['10.9.1.2'], ...more });
    const replies = () => node.packets().filter(({ icmp }) => icmp?.name === 'echo-reply');
    assert.ok(net.try('a', 'ping -n -c1 10.96.0.11'));
    await until('the first reply', () => replies().length > 0);
    const before = (await node.ask('conntrack')).stats.emitted;
    const codes = () => node.events.flatMap((event) => (event.kind === 'notice' ? [`${event.level} ${event.code}`] : []));
    await until('the notice', () => codes().includes('info KTRACE_N_NO_CONNTRACK'));
    assert.ok(net.try('a', 'ping -n -c1 10.96.0.11'));
    await node.packet(
      'the translated reply',
      (each) => each.icmp?.name === 'echo-reply' && each.nat !== undefined,
      ({ nat }) =>
        assert.deepEqual(
          nat?.map(({ before: from, after: to }) => [from.ip, to.ip]),
          [['10.9.2.2', '10.96.0.11']],
        ),
    );
    const { hooks, stats, counts, malformed, attached } = await node.close();
    assert.equal(hooks.find(({ name }) => name === 'conntrack')?.state, 'on');
    assert.ok(stats.emitted > before && isAccounted(stats), JSON.stringify(stats));
    assert.deepEqual([counts.sightings, malformed, attached], [stats.emitted, 0, 0]);
  });

  test('without BTF is refused with what is missing', () => {
    // Its source, or what that was made into (test/vm/machine/plain-script.ts).
    const isSource = import.meta.url.endsWith('.ts');
    const kernel = new URL('../../support/kernel.ts', import.meta.url).href.replace(/ts$/, isSource ? 'ts' : 'mjs');
    const script = `
      import { openTracer } from ${JSON.stringify(kernel)};
      try { openTracer(); } catch (error) { console.log(JSON.stringify([error.code, error.message, error.hint])); }`;
    const printed = net.exec(
      'node1',
      'env',
      'KTRACE_BTF=/nonexistent',
      process.execPath,
      ...(isSource ? ['--import', 'tsx'] : []),
      '--input-type=module',
      '-e',
      script,
    );
    const [code, message, hint] = JSON.parse(printed) as string[];
    assert.equal(code, 'KTRACE_E_NO_BTF');
    assert.match(message ?? '', /BTF/);
    assert.match(hint ?? '', /CONFIG_DEBUG_INFO_BTF/);
  });
});
