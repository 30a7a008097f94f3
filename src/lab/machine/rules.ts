import { type LabPod, labNodes, labServices } from '../plan/plan.ts';
import { proxyRules } from '../plan/proxy-rules.ts';
import { namespaceOf } from './network.ts';
import { run } from './run.ts';
import { allDone } from './wait.ts';

/** Writes every node's rules for the present pods, both families; called again when pods change, it replaces them. */
export async function writeProxyRules(lab: string, pods: readonly LabPod[]): Promise<void> {
  const services = labServices();
  await allDone(
    labNodes().map(async (node) => {
      const inside = ['nsenter', `--net=/run/netns/${namespaceOf(lab, node)}`];
      // One after the other: both families' tools take the same lock.
      await run([...inside, 'iptables-restore'], { input: proxyRules(node, services, pods, 4) });
      await run([...inside, 'ip6tables-restore'], { input: proxyRules(node, services, pods, 6) });
    }),
  );
}
