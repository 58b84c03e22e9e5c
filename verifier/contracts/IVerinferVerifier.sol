// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

/// @title The verifier of one circuit, as `verinfer contract build` makes it from EZKL's with a hardened entry.
/// @dev EZKL declares `verifyProof` without `view`, but it writes nothing; here it is called with STATICCALL.
interface IVerinferVerifier {
    /// @notice Returns true if `proof` is valid for `instances`; otherwise it reverts.
    /// @param proof The proof's bytes.
    /// @param instances The circuit's public numbers: inputs, challenge, outputs; each below the field's order.
    function verifyProof(bytes calldata proof, uint256[] calldata instances) external view returns (bool);
}

/// @title The verifier of every circuit: who calls it brings the circuit's VKA, the words of its verification key.
/// @dev Anybody may register a VKA. A caller that does not compare the digest accepts any model.
interface IVerinferReusableVerifier {
    /// @notice Remembers that `vka` is a whole verification key; returns its digest.
    function registerVka(bytes32[] calldata vka) external returns (bytes32 digest);

    /// @notice Returns true and the digest of `vka` if `proof` is valid for `instances` under it; otherwise it reverts.
    function verifyProof(bytes calldata proof, uint256[] calldata instances, bytes32[] calldata vka)
        external
        view
        returns (bool valid, bytes32 digest);
}
