import assert from 'node:assert/strict';
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { loadNative } from '../../../src/native/load.ts';
import type { Link, LinkChange } from '../../../src/native/types.ts';
import { until } from '../../support/until.ts';
import { run } from '../support.ts';

// What the kernel says about interfaces, addresses and routes.

const native = loadNative();
const changes: LinkChange[] = [];
const watcher = native.watchLinks((change) => changes.push(change));
const link = (name: string): Link => {
  const found = watcher.links().find((one) => one.name === name);
  assert.ok(found, name);
  return found;
};
const told = (name: string) => changes.some((change) => change.kind === 'new' && change.link.name === name);

assert.equal(link('lo').arpType, 772);
run('ip', 'link', 'add', 'v0', 'type', 'veth', 'peer', 'name', 'v1');
await until('both ends are told', () => told('v0') && told('v1'));
assert.deepEqual([link('v0').kind, link('v0').link, link('v0').linkNetnsId], ['veth', link('v1').ifindex, -1]);
assert.equal(link('v0').up, false);
run('ip', 'link', 'set', 'v0', 'up', 'mtu', '1400');
assert.deepEqual([link('v0').up, link('v0').mtu, link('v0').arpType], [true, 1400, 1]);

run('ip', 'link', 'add', 'x0', 'type', 'vxlan', 'id', '1', 'dstport', '8472', 'dev', 'v0');
assert.deepEqual([link('x0').kind, link('x0').vxlanPort], ['vxlan', 8472]);
assert.equal(link('v0').vxlanPort, 0);

assert.deepEqual([link('v0').genevePort, link('x0').genevePort], [0, 0]);
// Not every kernel has it; what else may be wrong with the command hides nothing.
const geneve = ['link', 'add', 'g0', 'type', 'geneve', 'id', '1', 'remote', '192.0.2.1', 'dstport', '6082'];
const made = spawnSync('ip', geneve, { encoding: 'utf8' });
if (made.status === 0) assert.deepEqual([link('g0').kind, link('g0').genevePort], ['geneve', 6082]);
else assert.match(made.stderr, /Unknown device type|not supported/);

run('ip', 'link', 'add', 'b0', 'type', 'bridge');
run('ip', 'link', 'set', 'v0', 'master', 'b0');
assert.deepEqual([link('v0').master, link('b0').kind], [link('b0').ifindex, 'bridge']);

run('ip', 'address', 'add', '10.9.0.1/24', 'dev', 'b0');
run('ip', 'address', 'add', 'fd00:9::1/64', 'dev', 'b0', 'nodad');
run('ip', 'link', 'set', 'b0', 'up');
await until('the address is told', () => changes.some((one) => one.kind === 'address' && one.ifindex === link('b0').ifindex));
const own = native.addresses().filter((address) => address.ifindex === link('b0').ifindex);
assert.deepEqual(
  own.filter(({ ip }) => !ip.startsWith('fe80')),
  [
    { ifindex: link('b0').ifindex, ip: '10.9.0.1', prefixLength: 24 },
    { ifindex: link('b0').ifindex, ip: 'fd00:9::1', prefixLength: 64 },
  ],
);

assert.deepEqual(native.defaultRouteInterfaces(), []);
run('ip', 'link', 'add', 'd0', 'type', 'veth', 'peer', 'name', 'd1');
run('ip', 'link', 'set', 'd0', 'up');
run('ip', 'link', 'set', 'd1', 'up');
changes.length = 0;
run('ip', 'route', 'add', '10.8.0.0/16', 'dev', 'b0');
run('ip', 'route', 'add', 'default', 'via', '10.9.0.2', 'dev', 'b0');
run('ip', '-6', 'route', 'add', 'default', 'dev', 'd0', 'metric', '7');
run('ip', 'route', 'add', 'default', 'dev', 'd0', 'table', '7');
run('ip', 'route', 'add', 'unreachable', 'default', 'metric', '9999');
assert.deepEqual(native.defaultRouteInterfaces(), [link('b0').ifindex, link('d0').ifindex]);
run('ip', '-6', 'route', 'del', 'default', 'dev', 'd0');
// They come in their order: had another route been told, it would be among them.
await until('the default routes are told', () => changes.filter(({ kind }) => kind === 'route').length >= 3);
assert.equal(changes.filter(({ kind }) => kind === 'route').length, 3);

// A port that leaves its bridge is no interface that went.
changes.length = 0;
const v0 = link('v0').ifindex;
run('ip', 'link', 'set', 'v0', 'nomaster');
run('ip', 'link', 'del', 'x0');
await until('the deletion is told', () => changes.some((change) => change.kind === 'gone' && change.name === 'x0'));
assert.equal(
  changes.some((change) => change.kind === 'gone' && change.ifindex === v0),
  false,
);

// The other end in another namespace, and its addresses.
const holder = spawn('unshare', ['--net', '--', 'sh', '-c', 'ip address add 10.9.1.2/24 dev lo; echo ready; exec sleep 1000']);
await new Promise((resolve) => holder.stdout.once('data', resolve));
run('ip', 'link', 'set', 'v1', 'netns', String(holder.pid));
await until('v1 moved', () => !watcher.links().some((one) => one.name === 'v1'));
assert.ok(link('v0').linkNetnsId >= 0);
assert.deepEqual(
  native.addresses(link('v0').linkNetnsId).map(({ ip, prefixLength }) => [ip, prefixLength]),
  [['10.9.1.2', 24]],
);
assert.throws(() => native.addresses(4321), { code: 'EINVAL' });
holder.kill('SIGKILL');

// More changes than the socket holds while nobody reads.
changes.length = 0;
const batch = Array.from({ length: 8000 }, (_, round) => `link set d0 mtu ${1000 + (round % 2)}`).join('\n');
execFileSync('ip', ['-batch', '-'], { input: batch });
await until('the overrun is told', () => changes.some((change) => change.kind === 'overrun'));
run('ip', 'link', 'del', 'd0');
await until('it goes on', () => changes.some((change) => change.kind === 'gone' && change.name === 'd0'));
watcher.close();
console.log('done');
