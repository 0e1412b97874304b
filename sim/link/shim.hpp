// The state that the shim's calls keep between beats.
#pragma once

namespace shim {

void reset();
bool busy();  // something that the card or the world began is not ended

}  // namespace shim
