/** How long what is waited for may take, in ms, however slow and busy the machine is. Only a test that fails waits so long. */
export const PATIENCE = 60_000;
