// Starts headless Chromium. CHROMIUM names the browser.
import { existsSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { chromium } from 'playwright-core';

function chromiumPath() {
  const folders = process.env.PATH.split(delimiter);
  const paths = ['chromium', 'chromium-browser'].flatMap((name) => folders.map((folder) => join(folder, name)));
  return process.env.CHROMIUM || paths.find(existsSync);
}

export function launch() {
  const executablePath = chromiumPath();
  if (!executablePath) {
    console.error('Chromium is missing: install it (tests/run.sh does), or set CHROMIUM to its path');
    process.exit(1);
  }
  return chromium.launch({
    executablePath,
    headless: true,
    // Chromium's sandbox does not work for root, and the page is trusted. The other flags prevent Chromium's own requests.
    chromiumSandbox: false,
    args: [
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
    ],
  });
}
