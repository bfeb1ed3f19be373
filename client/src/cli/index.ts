// The command line of the package: `npx broker-client <command>`.
import { EXIT, Exit } from './exit.js';
import { HELP, type Surroundings, types } from './types.js';

/** Runs a command, and gives its exit status. */
export async function main(args: string[], around: Surroundings): Promise<number> {
  const [command, ...rest] = args;
  try {
    if (command === 'types') await types(rest, around);
    else if (command === '--help' || command === '-h') around.say(HELP);
    else throw new Exit(EXIT.usage, command ? `there is no command ${command}` : 'a command is missing', 'usage');
    return EXIT.done;
  } catch (error) {
    const { message } = error as Error;
    const { status, code } = error instanceof Exit ? error : { status: EXIT.failed, code: 'failed' };
    // What a server says must not move the cursor of a terminal.
    const plain = message.replace(/[\x00-\x1f\x7f-\x9f]+/g, ' ');
    if (rest.includes('--json')) around.say(`${JSON.stringify({ error: plain, code })}\n`);
    around.tell(`broker-client: ${plain}`);
    if (status === EXIT.usage) around.tell('broker-client types --help says how it is used');
    return status;
  }
}
