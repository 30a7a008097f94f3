import assert from 'node:assert/strict';
import { randomInt } from 'node:crypto';
import type { PacketEvent } from '../../../src/event/types.ts';
import { assertNothingTwice, endpoints } from '../../lab/support/events.ts';
import type { KtraceProcess } from '../../support/ktrace-process.ts';
import { getJson, ktrace } from './cluster.ts';
import { findNetwork, type Network } from './network.ts';
import { type Pod, World } from './world.ts';

/** A world, what its network is, and a follow of all its pods, by all nodes. */
export interface Followed {
  world: World;
  network: Network;
  follow: KtraceProcess;
  close(): Promise<void>;
}

/** Waits for a packet that was sent after this moment, and is so: of a flood before it, records go on coming for a while. */
export async function toldAnew(follow: KtraceProcess, what: string, isIt: (packet: PacketEvent) => boolean): Promise<void> {
  const from = follow.events.length;
  const sinceMs = Date.now();
  const isNew = ({ time }: PacketEvent) => Date.parse(time) >= sinceMs;
  await follow.until(
    what,
    () => follow.events.slice(from).some((event) => event.kind === 'packet' && isNew(event) && isIt(event)),
    90_000,
  );
}

/** Waits until both nodes tell a ping that is sent from now on. */
export function bothNodesTell(follow: KtraceProcess): Promise<void> {
  return toldAnew(follow, 'a ping that both nodes tell', ({ icmp, nodes }) => icmp !== undefined && nodes.length === 2);
}

export async function followWorld(...flags: string[]): Promise<Followed> {
  const world = await World.create();
  let follow: KtraceProcess | undefined;
  const close = async () => {
    await follow?.interrupt();
    await world.close();
  };
  try {
    const network = await findNetwork(world);
    follow = ktrace('follow', '-n', world.namespace, '-o', 'json', ...flags);
    await follows(follow, world.client, world.server);
    return { world, network, follow, close };
  } catch (error) {
    await close();
    throw error;
  }
}

/** Until every node's agent follows these pods: then one packet is enough. */
export async function follows(follow: KtraceProcess, ...wanted: Pod[]): Promise<void> {
  await follow.following(({ pods, missing }) => {
    const uids = new Set(pods.map(({ uid }) => uid));
    return missing.length === 0 && wanted.every(({ uid }) => uids.has(uid));
  });
}

/**
 * What must hold of everything that was told: nothing twice, a packet's hops only on nodes that have such an interface, no
 * half-built interface of Calico, and never a pod of the host's network taken for the owner of its node's address.
 */
export async function assertSound({ world, follow }: Pick<Followed, 'world' | 'follow'>): Promise<void> {
  const { packets } = follow;
  assert.ok(packets.length > 0);
  assertNothingTwice(packets);
  assert.deepEqual(
    follow.events.filter(({ kind }) => kind === 'lost'),
    [],
  );
  const pods = await getJson<{ items: { metadata: { uid: string }; spec: { hostNetwork?: boolean } }[] }>('pods', '-A');
  const onHost = new Set(pods.items.flatMap(({ metadata, spec }) => (spec.hostNetwork === true ? [metadata.uid] : [])));
  const addresses = new Map([...world.nodes].map(([name, ip]) => [ip, name]));
  for (const packet of packets) {
    for (const end of endpoints(packet)) {
      assert.ok(end.pod === undefined || !onHost.has(end.pod.uid), `a pod of the host's network: ${JSON.stringify(end)}`);
      const node = addresses.get(end.ip);
      if (node !== undefined && end.service === undefined) assert.equal(end.node, node, JSON.stringify(end));
    }
    assert.ok(
      packet.hops.every((hop) => !hop.if.startsWith('calico_tmp_')),
      JSON.stringify(packet.hops),
    );
    const onTheWay = packet.hops.map(({ node }) => node).filter((node, index, all) => node !== all[index - 1]);
    // What is dropped before any interface saw it has no hop.
    if (onTheWay.length > 0 || packet.drop === undefined) assert.deepEqual(packet.nodes, onTheWay, JSON.stringify(packet));
  }
}

/** A packet of a connection that the client began from this port. */
export function fromPort(port: number, flags: string): (packet: PacketEvent) => boolean {
  return ({ src, dst, tcp }) => tcp?.flags === flags && (src.port === port || dst.port === port);
}

/** Source ports one after the other, from a chance beginning below the kernel's own choice. */
export function clientPorts(): () => number {
  let next = randomInt(20_000, 30_000);
  return () => next++;
}
