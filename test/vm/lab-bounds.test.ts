import { proveLabFiles } from './lab-files.ts';

/** What one pod may cost, and that what is remembered of packets, flows and ports is let go. */
proveLabFiles(['kernel/flows', 'kernel/rates', 'kernel/ports', 'kernel/wake', 'kernel/rcu', 'kernel/load']);
