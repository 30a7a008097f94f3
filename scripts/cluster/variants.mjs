/**
 * The clusters that the product is tried on: how the tool brings them, and which test files run there. `isExtra`: only with `--all`. `least`: tests that
 * must have run there, a few less than there are.
 * The core is what differs from network to network; the rest is the same on all.
 */
const CORE = ['translations', 'fates'];
const EVERYTHING = [...CORE, 'authorization', 'change', 'filter', 'manifests', 'install', 'least-privilege', 'dump'];

export const VARIANTS = [
  {
    name: 'flannel VXLAN, iptables',
    up: ['--backend', 'vxlan', '--proxy', 'iptables'],
    tests: [...EVERYTHING, 'contract', 'faults', 'faults-nodes'],
    least: 85,
  },
  { name: 'flannel host-gw, nftables', up: ['--backend', 'host-gw', '--proxy', 'nftables'], tests: CORE, least: 13 },
  {
    name: 'Calico VXLAN, iptables',
    up: ['--backend', 'calico-vxlan', '--proxy', 'iptables'],
    tests: [...CORE, 'policy'],
    least: 16,
  },
  { name: 'flannel udp, iptables', up: ['--backend', 'udp', '--proxy', 'iptables'], tests: CORE, isExtra: true },
  {
    name: 'Calico routes, iptables',
    up: ['--backend', 'calico', '--proxy', 'iptables'],
    tests: [...CORE, 'policy'],
    isExtra: true,
  },
];

/** Somebody else's cluster, whatever its network: a test that does not fit it skips itself. */
export const STANDING = { name: 'the standing cluster', up: undefined, tests: [...EVERYTHING, 'policy'] };
