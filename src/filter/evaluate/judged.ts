import type { Answer } from './terms.ts';

const LETTERS: Record<Answer, string> = { yes: '1', no: '0', never: '0', beyond: 'x' };
const SHAPE = /^(\d{1,10}):([01x]*)$/;

/** What one node's part of a packet says to a filter: `REVISION:` and a letter for each term. */
export function judgedText(revision: number, answers: readonly Answer[]): string {
  return `${revision}:${answers.map((answer) => LETTERS[answer]).join('')}`;
}

/** Reads {@link judgedText}; undefined when it is none. What was not true anywhere is `never`. */
export function parseJudged(text: string): { revision: number; answers: Answer[] } | undefined {
  const [, revision, letters] = SHAPE.exec(text) ?? [];
  if (revision === undefined || letters === undefined) return undefined;
  const answers = [...letters].map((letter): Answer => (letter === '1' ? 'yes' : letter === 'x' ? 'beyond' : 'never'));
  return { revision: Number(revision), answers };
}

/** A term is true of a packet when it is true of any part of it. */
export function union(parts: readonly (readonly Answer[])[]): Answer[] {
  const size = Math.max(0, ...parts.map(({ length }) => length));
  return Array.from({ length: size }, (_, term): Answer => {
    const said = parts.map((answers) => answers[term]);
    return said.includes('yes') ? 'yes' : said.includes('beyond') ? 'beyond' : 'never';
  });
}
