import { proveLabFiles } from './files.ts';

/** That what is remembered of packets and ports is let go, and how programs are loaded and their reader is woken. */
proveLabFiles(['kernel/facts/ports', 'kernel/load/wake', 'kernel/load/rcu', 'kernel/load/load', 'kernel/load/unload']);
