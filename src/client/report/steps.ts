import type { Hop, PacketEvent, Translation } from '../../event/types.ts';

/** One thing that happened to a packet, in the order of its way. */
export type Step =
  | { kind: 'hop'; hop: Hop }
  /** Without `node` its place is not known: it was read off the connection's entry. */
  | { kind: 'translation'; translation: Translation; node: string | undefined }
  | { kind: 'drop'; node: string | undefined }
  | { kind: 'origin'; node: string };

/** A packet's way: who made it, its hops with the translations between them, and where it was dropped. */
export function stepsOf({ hops, nat = [], drop, nodes, icmp }: PacketEvent): Step[] {
  const steps: Step[] = hops.map((hop) => ({ kind: 'hop', hop }));
  for (const translation of nat.filter(({ atNs }) => atNs !== undefined)) place(steps, translation, hops);
  if (icmp?.by !== undefined) steps.unshift({ kind: 'origin', node: icmp.by.node });
  if (drop !== undefined) steps.push({ kind: 'drop', node: hops.at(-1)?.node ?? nodes.at(-1) });
  for (const translation of nat) {
    if (translation.atNs === undefined) steps.push({ kind: 'translation', translation, node: undefined });
  }
  return steps;
}

/** Behind the last hop that was before it; one before the first hop is the sending node's own. */
function place(steps: Step[], translation: Translation, hops: readonly Hop[]): void {
  const atNs = translation.atNs ?? 0;
  const after = steps.findLastIndex(
    (step) =>
      (step.kind === 'hop' && step.hop.atNs <= atNs) || (step.kind === 'translation' && (step.translation.atNs ?? 0) <= atNs),
  );
  const before = steps[after];
  const node = before?.kind === 'hop' ? before.hop.node : before?.kind === 'translation' ? before.node : hops[0]?.node;
  steps.splice(after + 1, 0, { kind: 'translation', translation, node });
}
