import type { Target } from '../event/target.ts';

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
