import type { Target } from '../../event/target.ts';
import { listText } from '../../util/many-text.ts';

/** The namespace that all targets are in; undefined where there are several, or a node. */
export function onlyNamespace(targets: readonly Target[]): string | undefined {
  const [first, ...others] = targets.map(namespaceOf);
  return others.every((namespace) => namespace === first) ? first : undefined;
}

function namespaceOf(target: Target): string | undefined {
  if (target.kind === 'namespace') return target.name;
  return 'namespace' in target ? target.namespace : undefined;
}

/** A target in words, for people. */
export function targetText(target: Target): string {
  switch (target.kind) {
    case 'all':
      return 'all pods';
    case 'selector':
      return `pods with ${target.selector}${target.namespace === undefined ? ' in all namespaces' : ` in ${target.namespace}`}`;
    case 'node':
    case 'namespace':
      return `${target.kind} ${target.name}`;
    default:
      return `${target.kind} ${target.namespace}/${target.name}`;
  }
}

/** What to follow instead of pods that use their nodes' network. */
export function followNodesText(nodes: readonly string[]): string {
  return `follow ${listText(nodes.map((node) => `node/${node}`))}`;
}
