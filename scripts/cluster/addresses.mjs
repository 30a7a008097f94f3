/** Where CNI's host-local notes the addresses that it has given, and the last one. */
const NOTES = '/var/lib/cni/networks';
const OWN = '/run/ktrace-test-addresses';

/**
 * Gives each node that the tool brought its own notes of addresses. They share one folder otherwise, and what one node notes as its last address
 * makes another begin again with the address that it gave last. Who has talked to that one's old owner (the node, its other pods) still has its
 * MAC address, and reaches nobody for 10 to 40 s. A real node has its own folder.
 * What clusters before this one have left noted, which has begun at `beganMs` (Unix), is nobody's: it would leave few addresses to go round.
 */
export async function separateAddresses({ cluster, kubectl }, beganMs) {
  const names = (await kubectl(['get', 'nodes', '-o', 'name'])).trim().split('\n');
  const noted = `find . -type f -newermt @${Math.floor(beganMs / 1000)} -exec cp -a --parents -t ${OWN} {} +`;
  const script = `[ ! -d ${NOTES} ] || { mkdir -p ${OWN} && cd ${NOTES} && ${noted} && mount --bind ${OWN} ${NOTES}; }`;
  await Promise.all(names.map((name) => cluster(['node', name.replace('node/', ''), 'sh', '-c', script], 30_000)));
}
