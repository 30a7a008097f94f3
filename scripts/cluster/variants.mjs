/**
 * The clusters that the product is tried on: how the tool brings them, what of `deploy/` is installed there first (`base`), and which test files run there:
 * `tests` two at a time, as they leave to each other what is installed, then those that put another in its place, or take it away, one at a time (`alone`).
 * `isExtra`: only with `--all`. `least`: tests that must have run there, a few less than there are.
 * The core is what differs from network to network; the rest is the same on all.
 */
const CORE = { tests: ['translations', 'fates'] };
/** Where pods and policies come and go, the enforcer of policies puts its rules before the one that `fates` has just put first. */
const CALICO = { tests: [], alone: [...CORE.tests, 'policy'] };
/** On agents that record. The longest are begun first. */
const BESIDE = [
  'authorization',
  'dump',
  'monitoring',
  'fates',
  'filter',
  'client/krew',
  'debug-node',
  'translations',
  'manifests',
];
const ALONE = ['change', 'install', 'least-privilege'];

export const VARIANTS = [
  {
    name: 'flannel VXLAN, iptables',
    up: ['--backend', 'vxlan', '--proxy', 'iptables'],
    installed: 'overlays/recording',
    tests: BESIDE,
    alone: [...ALONE, 'contract', 'faults', 'faults-nodes'],
    least: 95,
  },
  { name: 'flannel host-gw, nftables', up: ['--backend', 'host-gw', '--proxy', 'nftables'], ...CORE, least: 13 },
  { name: 'Calico VXLAN, iptables', up: ['--backend', 'calico-vxlan', '--proxy', 'iptables'], ...CALICO, least: 16 },
  ...[
    ['flannel udp', 'udp', CORE],
    ['Calico routes', 'calico', CALICO],
  ].flatMap(([name, backend, files]) => ['iptables', 'nftables'].map((proxy) => extra(name, backend, proxy, files))),
  extra('flannel VXLAN', 'vxlan', 'nftables', CORE),
  extra('Calico VXLAN', 'calico-vxlan', 'nftables', CALICO),
];

function extra(name, backend, proxy, files) {
  return { name: `${name}, ${proxy}`, up: ['--backend', backend, '--proxy', proxy], ...files, isExtra: true };
}

/** Somebody else's cluster, whatever its network: a test that does not fit it skips itself. Its agents do not record until the first test that needs it. */
export const STANDING = { name: 'the standing cluster', up: undefined, tests: [], alone: [...BESIDE, ...ALONE, 'policy'] };

export const fileOf = (test) => `test/cluster/${test}.test.ts`;
