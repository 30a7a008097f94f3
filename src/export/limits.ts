import type { QueueLimits } from './queue.ts';

/** Every bound of the export. */
export interface ExportLimits extends QueueLimits {
  /** A record leaves after this long at the latest, when the collector takes it. */
  delayMs: number;
  /** Between two attempts: doubled from the first to the last of these, less up to a half by chance. */
  backoffMs: number;
  maxBackoffMs: number;
  /** A record that has waited this long is given up when the next attempt fails. */
  maxAgeMs: number;
  /** What is left at the agent's end is sent for this long. */
  flushMs: number;
  /** The log says so often at most that records are lost or late. */
  complaintMs: number;
}

export const EXPORT_LIMITS: ExportLimits = {
  queueRecords: 16_384,
  queueBytes: 16 * 1024 * 1024,
  batchRecords: 512,
  batchBytes: 512 * 1024,
  delayMs: 2_000,
  backoffMs: 1_000,
  maxBackoffMs: 30_000,
  maxAgeMs: 5 * 60_000,
  flushMs: 4_000,
  complaintMs: 60_000,
};
