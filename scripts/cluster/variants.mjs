/**
 * The clusters that the product is tried on: how the tool brings them, what of `deploy/` is installed there first (`base`), and which test files run there.
 * `isExtra`: only with `--all`. `least`: tests that must have run there, a few less than there are.
 * The core is what differs from network to network; the rest is the same on all.
 */
const CORE = ['translations', 'fates'];
const RECORDED = [...CORE, 'authorization', 'dump'];
const EVERYTHING = [
  ...RECORDED,
  'change',
  'filter',
  'debug-node',
  'monitoring',
  'client/krew',
  'manifests',
  'install',
  'least-privilege',
];
const CALICO = [...CORE, 'policy'];

export const VARIANTS = [
  {
    name: 'flannel VXLAN, iptables',
    up: ['--backend', 'vxlan', '--proxy', 'iptables'],
    installed: 'overlays/recording',
    tests: [...EVERYTHING, 'contract', 'faults', 'faults-nodes'],
    least: 95,
  },
  { name: 'flannel host-gw, nftables', up: ['--backend', 'host-gw', '--proxy', 'nftables'], tests: CORE, least: 13 },
  { name: 'Calico VXLAN, iptables', up: ['--backend', 'calico-vxlan', '--proxy', 'iptables'], tests: CALICO, least: 16 },
  ...[
    ['flannel udp', 'udp', CORE],
    ['Calico routes', 'calico', CALICO],
  ].flatMap(([name, backend, tests]) => ['iptables', 'nftables'].map((proxy) => extra(name, backend, proxy, tests))),
  extra('flannel VXLAN', 'vxlan', 'nftables', CORE),
  extra('Calico VXLAN', 'calico-vxlan', 'nftables', CALICO),
];

function extra(name, backend, proxy, tests) {
  return { name: `${name}, ${proxy}`, up: ['--backend', backend, '--proxy', proxy], tests, isExtra: true };
}

/** Somebody else's cluster, whatever its network: a test that does not fit it skips itself. */
export const STANDING = { name: 'the standing cluster', up: undefined, tests: [...EVERYTHING, 'policy'] };

export const fileOf = (test) => `test/cluster/${test}.test.ts`;
