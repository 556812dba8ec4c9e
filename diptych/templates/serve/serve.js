// The page of `diptych serve`: the playground, with the server as its backend.

import { startPlayground } from "./playground.js";
import * as server from "./server.js";

startPlayground(server);
