import { proveLabFiles } from '../files.ts';

/** What the table counts of connections. */
proveLabFiles(['kernel/counts/connections']);
