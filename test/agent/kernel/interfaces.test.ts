import assert from 'node:assert/strict';
import { test } from 'node:test';
import { podInterfaces } from '../../../src/agent/kernel/interface-names.ts';
import { link, openInterfaces } from './interfaces-fixture.ts';

const address = (ip: string, ifindex = 9) => ({ ifindex, ip, prefixLength: 32 });

test('a burst of 4,000 addresses, which interrupts the dumps, costs few dumps and ends with the right addresses', (t) => {
  const { interfaces, kernel, clock } = openInterfaces(t, { addresses: [address('10.0.0.1')] });
  const before = kernel.dumps;
  kernel.busy = 5;
  for (let at = 0; at < 4000; at++) {
    kernel.addresses = [...kernel.addresses.slice(-9), address(`10.96.${at >> 8}.${at & 255}`)];
    kernel.tell({ kind: 'address', ifindex: 9 });
    if (at % 10 === 9) clock.advance(1);
  }
  clock.advance(60_000);
  assert.deepEqual(interfaces.ownAddresses, new Set(kernel.addresses.map(({ ip }) => ip)));
  assert.ok(kernel.dumps - before <= 10, `${kernel.dumps - before} dumps`);
  assert.equal(interfaces.guard.failures.get('addresses'), undefined, 'that addresses change is no fault');
});

test('addresses that go on changing for longer than the longest pause, so that they cannot be read, are told as a fault', (t) => {
  const { interfaces, kernel, clock } = openInterfaces(t, { addresses: [address('10.0.0.1')] });
  kernel.busy = 10;
  kernel.addresses = [address('10.0.0.2')];
  kernel.tell({ kind: 'address', ifindex: 9 });
  clock.advance(5000);
  assert.equal(interfaces.guard.failures.get('addresses'), undefined);
  clock.advance(60_000);
  assert.equal(kernel.busy, 0);
  assert.equal(interfaces.guard.failures.get('addresses'), 3);
  assert.deepEqual(interfaces.ownAddresses, new Set(['10.0.0.2']));
});

test('addresses that cannot be read at the start, or when Kubernetes tells the node’s own, are read later', (t) => {
  const { interfaces, kernel, clock } = openInterfaces(t, { busy: 2, addresses: [address('192.0.2.1', 3)] });
  kernel.links = [];
  assert.deepEqual(interfaces.ownAddresses, new Set());
  const changes: number[] = [];
  interfaces.onOwnAddressesChange = () => changes.push(interfaces.ownAddresses.size);
  interfaces.setNodeAddresses(['192.0.2.1']);
  assert.equal(kernel.busy, 0);
  clock.advance(1000);
  assert.deepEqual(interfaces.ownAddresses, new Set(['192.0.2.1']));
  assert.deepEqual(changes, [1]);
});

test('an address that several interfaces have is no change each time something is told', (t) => {
  const addresses = [address('fe80::ecee:eeff:feee:eeee', 7), address('fe80::ecee:eeff:feee:eeee', 8)];
  const { interfaces, kernel, clock } = openInterfaces(t, { addresses });
  let changes = 0;
  interfaces.onOwnAddressesChange = () => {
    changes += 1;
  };
  kernel.tell({ kind: 'address', ifindex: 7 });
  clock.advance(100);
  assert.equal(changes, 0);
  kernel.addresses = [...addresses, address('10.0.0.1')];
  kernel.tell({ kind: 'address', ifindex: 9 });
  clock.advance(100);
  assert.equal(changes, 1);
});

test('pauses between tries grow, up to some seconds', (t) => {
  const { kernel, clock } = openInterfaces(t, { busy: 1_000_000 });
  clock.advance(60_000);
  assert.ok(kernel.dumps < 25, `${kernel.dumps} dumps in a minute`);
  kernel.busy = 0;
  const before = kernel.dumps;
  clock.advance(5_000);
  assert.equal(kernel.dumps, before + 1);
});

test('a change that cannot be taken in does not throw into the addon, and all links are read again', (t) => {
  const { interfaces, kernel, clock } = openInterfaces(t);
  const veth = link({ ifindex: 7, name: 'veth7' });
  interfaces.setActive(true);
  kernel.tell({ kind: 'new', link: null as unknown as typeof veth });
  assert.equal(interfaces.guard.failures.get('link change'), 1);
  kernel.links = [veth];
  clock.advance(1000);
  assert.deepEqual([...kernel.attached], [[7, 'pod']]);
});

test('interfaces that cannot be detached do not keep others attached', (t) => {
  const links = [7, 8].map((ifindex) => link({ ifindex, name: `veth${ifindex}` }));
  const { interfaces, kernel } = openInterfaces(t, { links });
  interfaces.setActive(true);
  kernel.stuck.add(7);
  interfaces.setActive(false);
  assert.deepEqual([...kernel.attached], [[7, 'pod']]);
  assert.equal(interfaces.guard.failures.get('detach'), 1);
});

test('after an overrun everything is read again', (t) => {
  const { interfaces, kernel, clock } = openInterfaces(t, { links: [link({ ifindex: 7, name: 'veth7' })] });
  interfaces.setActive(true);
  kernel.links = [link({ ifindex: 8, name: 'veth8' })];
  for (let times = 0; times < 3; times++) kernel.tell({ kind: 'overrun' });
  clock.advance(100);
  assert.deepEqual([...kernel.attached], [[8, 'pod']]);
});

test('an interface that cannot be attached is tried again with growing pauses, and is told until it is attached', (t) => {
  const links = [7, 8].map((ifindex) => link({ ifindex, name: `veth${ifindex}` }));
  const { interfaces, kernel, clock } = openInterfaces(t, { links });
  kernel.refusals.set(7, 'ENOMEM');
  assert.equal(interfaces.lacking(), undefined, 'nobody follows');
  interfaces.setActive(true);
  assert.deepEqual(interfaces.lacking(), {
    text: "1 pod's interface: ENOMEM",
    isEverything: false,
    failed: interfaces.lacking()?.failed,
  });
  assert.deepEqual(podInterfaces(interfaces.lacking()?.failed ?? []), { interfaces: ['veth7'] });
  const before = kernel.attaches;
  for (let seconds = 0; seconds < 600; seconds++) {
    clock.advance(1000);
    interfaces.retryFailed();
  }
  const tries = kernel.attaches - before;
  assert.ok(tries > 5 && tries < 20, `${tries} tries in 10 minutes`);
  kernel.refusals.clear();
  clock.advance(60_000);
  interfaces.retryFailed();
  assert.deepEqual([[...kernel.attached.keys()].sort(), interfaces.lacking()], [[7, 8], undefined]);
});

test('interfaces that cannot be attached are told together by the reason, the node’s own by name, pods’ by number', (t) => {
  const own = [1, 2].map((ifindex) => link({ ifindex, name: `cni${ifindex}`, kind: 'bridge', linkNetnsId: -1 }));
  const { interfaces, kernel } = openInterfaces(t, { links: [...own, link({ ifindex: 7, name: 'veth7' })] });
  for (const ifindex of [1, 2, 7])
    kernel.refusals.set(ifindex, `attach ktrace_in to interface ${ifindex} ingress by tcx: EINVAL`);
  interfaces.setActive(true);
  assert.equal(interfaces.lacking()?.text, "cni1, cni2 and 1 pod's interface: attach ktrace_in ingress by tcx: EINVAL");
});

test('where nothing is attached, or there is nothing to attach, everything is lacking', (t) => {
  const { interfaces, kernel } = openInterfaces(t);
  interfaces.setActive(true);
  assert.match(interfaces.lacking()?.text ?? '', /no interface of a pod network and no uplink/);
  for (let ifindex = 1; ifindex <= 7; ifindex++) {
    kernel.refusals.set(ifindex, ifindex < 7 ? 'EINVAL' : 'ENOMEM');
    kernel.tell({ kind: 'new', link: link({ ifindex, name: `veth${ifindex}` }) });
  }
  const { text, isEverything } = interfaces.lacking() ?? {};
  assert.deepEqual([text, isEverything], ["6 pods' interfaces: EINVAL; 1 pod's interface: ENOMEM", true]);
  for (let ifindex = 1; ifindex < 7; ifindex++) kernel.tell({ kind: 'gone', ifindex, name: '' });
  kernel.refusals.set(7, 'ENODEV');
  kernel.tell({ kind: 'new', link: link({ ifindex: 7, name: 'veth7', mtu: 9000, up: false }) });
  assert.equal(interfaces.lacking(), undefined, 'one that goes at this moment is nobody’s loss');
});

test('what leads to a pod is a pod’s, also when it is gone; what the node has besides is not', (t) => {
  const { interfaces, kernel } = openInterfaces(t, {
    links: [
      link({ ifindex: 5, name: 'veth5' }),
      link({ ifindex: 6, name: 'cni0', kind: 'bridge', linkNetnsId: -1 }),
      link({ ifindex: 7, name: 'dummy0', kind: 'dummy', linkNetnsId: -1 }),
    ],
  });
  assert.deepEqual(
    [5, 6, 7].map((ifindex) => interfaces.isOfPod(ifindex)),
    [true, false, false],
  );
  kernel.tell({ kind: 'gone', ifindex: 5, name: 'veth5' });
  assert.deepEqual([interfaces.nameOf(5), interfaces.isOfPod(5)], ['veth5', true]);
});

test('the ports of tunnels are those of the devices that are there', (t) => {
  const vxlan = (vxlanPort: number) => link({ ifindex: 5, name: 'vxlan5', kind: 'vxlan', linkNetnsId: -1, vxlanPort });
  const geneve = link({ ifindex: 6, name: 'geneve6', kind: 'geneve', linkNetnsId: -1, genevePort: 6081 });
  const { interfaces, kernel } = openInterfaces(t, { links: [vxlan(8472)] });
  const ports = () => [interfaces.vxlanPorts(), interfaces.genevePorts()];
  assert.deepEqual(ports(), [[8472], []]);
  kernel.tell({ kind: 'new', link: geneve });
  assert.deepEqual(ports(), [[8472], [6081]]);
  kernel.tell({ kind: 'new', link: vxlan(4789) });
  assert.deepEqual(ports(), [[4789], [6081]], 'a device made anew has another port');
  kernel.tell({ kind: 'gone', ifindex: 6, name: 'geneve6' });
  assert.deepEqual(ports(), [[4789], []]);
});

test('the namespaces behind pods’ interfaces are asked for while somebody follows, also of those that came or changed meanwhile', (t) => {
  const { interfaces, kernel } = openInterfaces(t, { links: [link({ ifindex: 5, name: 'veth5' })] });
  kernel.netns.set(5, 55).set(6, 66).set(7, 77);
  kernel.tell({ kind: 'new', link: link({ ifindex: 6, name: 'veth6' }) });
  assert.deepEqual([[...kernel.podNetns], interfaces.netnsOf(6)], [[], undefined], 'the programs that tell it may not be loaded');
  interfaces.setActive(true);
  kernel.tell({ kind: 'new', link: link({ ifindex: 7, name: 'veth7' }) });
  assert.deepEqual([[...kernel.podNetns], interfaces.netnsOf(7)], [[55, 66, 77], 77]);
  interfaces.setActive(false);
  kernel.tell({ kind: 'gone', ifindex: 6, name: 'veth6' });
  kernel.netns.set(7, 78);
  interfaces.setActive(true);
  assert.deepEqual([[...kernel.podNetns], interfaces.netnsOf(7)], [[55, 78], 78]);
});
