import { remedy } from '../../client/render/snap-text.ts';
import type { LinkLayer } from '../../event/link-layer.ts';
import { compileFilter } from '../../filter/compile/compile.ts';
import { disassemble } from '../../filter/compile/disassemble.ts';
import { kernelPart, kernelPartText } from '../../filter/evaluate/kernel-part.ts';
import { termsPastHeaders } from '../../filter/evaluate/past-headers.ts';
import { isInherent, type Term, termsOf } from '../../filter/evaluate/terms.ts';
import { USUAL_TUNNEL_PORTS } from '../../filter/evaluate/tunnel-ports.ts';
import type { Expression } from '../../filter/language/ast.ts';
import { parseFilter } from '../../filter/language/parse.ts';
import { printFilter } from '../../filter/language/print.ts';
import { messageOf } from '../../util/errors.ts';

/** What `ktrace filter` prints. Names of hosts are left as they are: a program needs their addresses. Throws KTRACE_E_FILTER. */
export function filterText(text: string, { disassemble: isProgram, link }: { disassemble?: true; link: LinkLayer }): string {
  // Programs are made for files.
  if (isProgram === true) return disassemble(compileFilter(parseFilter(text, 'file'), link));
  const expression = parseFilter(text);
  if (expression === undefined) return 'every packet';
  return `${printFilter(expression)}\n${onFollow(text).join('\n')}`;
}

/** Who decides it on a follow. */
function onFollow(text: string): string[] {
  let expression: Expression | undefined;
  try {
    expression = parseFilter(text, 'live');
  } catch (error) {
    return [`  on a follow:    refused: ${messageOf(error).split('\n', 1)[0] ?? ''}`];
  }
  const part = expression === undefined ? undefined : kernelPart(expression, USUAL_TUNNEL_PORTS);
  const rest = expression === undefined ? [] : termsOf(expression).terms.filter((term) => !isInherent(term));
  return [
    `  in the kernel:  ${part === undefined ? 'nothing: each term may be true of a packet elsewhere' : kernelPartText(part)}`,
    `  in user space:  ${rest.length === 0 ? 'nothing more' : rest.map(termText).join(', ')}`,
    ...(expression === undefined ? [] : termsPastHeaders(expression)).map(
      ({ term, readsTo }) =>
        `  payload:        ${term} reads up to byte ${readsTo} at least; ${remedy(readsTo, 'captures them')}`,
    ),
  ];
}

function termText({ primitive, scope }: Term): string {
  return `${scope === 'any' ? '' : `${scope} `}${printFilter(primitive)}`;
}
