import { isAbsolute } from 'node:path';
import { badArgument } from '../../util/errors.ts';
import type { Settings } from '../../util/settings.ts';

/** Where and how much an agent records. */
export interface RecordConfig {
  directory: string;
  budgetBytes: number;
  ageMs: number;
  /** How long after a pod's trouble its incident goes on; undefined: as by default. Tests do not wait that long. */
  incidentAfterMs?: number;
}

const MIB = 1024 * 1024;
const DEFAULT_BYTES = 512 * MIB;
/** What a recording needs at least to have a share for each pod. */
export const LEAST_RECORD_BYTES = 16 * MIB;
export const MOST_RECORD_HOURS = 24 * 366;
const DEFAULT_HOURS = 24;

/** `record` (a folder; nothing is recorded without), `recordBytes`, `recordHours`, `incidentAfterMs`. Throws KTRACE_E_ARGUMENT. */
export function readRecordConfig(settings: Settings): RecordConfig | undefined {
  const directory = settings.text('record');
  const budgetBytes = settings.integer('recordBytes', LEAST_RECORD_BYTES, Number.MAX_SAFE_INTEGER) ?? DEFAULT_BYTES;
  const hours = settings.integer('recordHours', 1, MOST_RECORD_HOURS) ?? DEFAULT_HOURS;
  const incidentAfterMs = settings.integer('incidentAfterMs', 0, 3_600_000);
  if (directory === undefined) return undefined;
  if (!isAbsolute(directory)) throw badArgument(settings.names('record'), 'an absolute path', directory);
  return { directory, budgetBytes, ageMs: hours * 3_600_000, ...(incidentAfterMs === undefined ? {} : { incidentAfterMs }) };
}
