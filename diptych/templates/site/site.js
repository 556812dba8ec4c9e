// A page that computes translations itself: the playground, with a model in the browser as its backend.

import * as model from "./local_model.js";
import { startPlayground } from "./playground.js";

startPlayground(model);
