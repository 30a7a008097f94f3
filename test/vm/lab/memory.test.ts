import { proveLabFiles } from './files.ts';

/** That what is remembered of packets and ports is let go, and how programs are attached and their reader is woken. */
proveLabFiles(['kernel/facts/ports', 'kernel/load/wake', 'kernel/load/rcu']);
