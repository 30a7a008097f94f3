import type { Target } from '../../event/target.ts';
import { KtraceError } from '../../util/errors.ts';
import { didYouMean } from '../cluster/suggest.ts';
import type { RecordedAnswer } from '../wire/node-question.ts';

/** Names that a message lists at most. */
const MOST_NAMES = 10;

/** The error for a time of which no node has anything; undefined when one has. */
export function unrecordedTime(answers: readonly RecordedAnswer[], sinceMs: number, untilMs: number): KtraceError | undefined {
  const fromMs = Math.min(...answers.map((answer) => answer.fromMs));
  const toMs = Math.max(...answers.map((answer) => answer.toMs));
  if (untilMs >= fromMs && sinceMs <= toMs) return undefined;
  return new KtraceError('KTRACE_E_NOT_RECORDED', `Nothing is recorded of ${utc(sinceMs)} to ${utc(untilMs)}`, {
    hint: `What is recorded goes from ${utc(fromMs)} to ${utc(toMs)}.`,
  });
}

/** The error for targets of which no pod was recorded, with those that were; undefined when there was one, or where no pod is asked for. */
export function unknownPods(
  answers: readonly RecordedAnswer[],
  targets: readonly Target[],
  sinceMs: number,
  untilMs: number,
): KtraceError | undefined {
  if (targets.some(({ kind }) => kind === 'all' || kind === 'node' || kind === 'service')) return undefined;
  const pods = answers.flatMap((answer) => answer.pods);
  if (pods.some(({ fromMs, toMs }) => fromMs <= untilMs && (toMs ?? Infinity) >= sinceMs)) return undefined;
  const [one] = pods;
  if (one !== undefined) {
    return new KtraceError('KTRACE_E_NOT_RECORDED', `No pod of these targets was there from ${utc(sinceMs)} to ${utc(untilMs)}`, {
      hint: `${one.namespace}/${one.name} was there from ${utc(one.fromMs)}${one.toMs === undefined ? ' on' : ` to ${utc(one.toMs)}`}.`,
    });
  }
  const known = [...new Set(answers.flatMap((answer) => answer.known))].sort();
  const [target] = targets;
  const wanted =
    target !== undefined && 'name' in target ? `${'namespace' in target ? `${target.namespace}/` : ''}${target.name}` : '';
  const listed =
    known.slice(0, MOST_NAMES).join(', ') + (known.length > MOST_NAMES ? ` and ${known.length - MOST_NAMES} more` : '');
  return new KtraceError('KTRACE_E_NOT_RECORDED', `No pod of these targets was recorded${wanted === '' ? '' : `: ${wanted}`}`, {
    hint: [didYouMean(wanted, known), known.length === 0 ? 'No pod that you may see was recorded.' : `Recorded were ${listed}.`]
      .filter((part) => part !== undefined)
      .join(' '),
  });
}

function utc(ms: number): string {
  return new Date(ms).toISOString();
}
