import { proveLabFiles } from './files.ts';

/** What one pod may cost, and that what is remembered of packets, flows and ports is let go. */
proveLabFiles([
  'kernel/counts/flows',
  'kernel/counts/rates',
  'kernel/facts/ports',
  'kernel/load/wake',
  'kernel/load/rcu',
  'kernel/load/load',
]);
