// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {InferenceConsumer} from "../InferenceConsumer.sol";
import {IModelRegistry} from "../ModelRegistry.sol";

/// @title Example: a stake goes to its beneficiary if the model says class 1, and back to who staked it otherwise.
/// @notice Open with a stake and the hash of the input; whoever settles decides nothing and gets nothing.
/// @dev Credits are withdrawn by their owners, so nobody can block a settlement by refusing money.
contract ClassOnePayout is InferenceConsumer {
    struct Stake {
        address beneficiary;
        uint96 amount; // wei
    }

    mapping(uint256 requestId => Stake) public stakes;
    mapping(address who => uint256) public credits;

    event Credited(uint256 indexed requestId, address indexed to, uint256 amount);

    error StakeOutOfRange();
    error NoBeneficiary();
    error NothingToWithdraw();
    error WithdrawalFailed();
    error OneOutput();

    constructor(Model memory model, IModelRegistry registry_) InferenceConsumer(model, registry_) {
        if (model.outputs < 2) revert OneOutput();
    }

    /// @notice Opens a request and stakes the value sent with it.
    /// @param beneficiary Who gets it if the model says class 1; must be able to call `withdraw`, or the stake is lost then.
    function stake(bytes32 inputHash, uint64 deadline, address beneficiary)
        external
        payable
        returns (uint256 requestId)
    {
        if (msg.value == 0 || msg.value > type(uint96).max) revert StakeOutOfRange();
        // Nobody could withdraw what is credited to it.
        if (beneficiary == address(0)) revert NoBeneficiary();
        requestId = _open(msg.sender, inputHash, deadline);
        // forge-lint: disable-next-line(unsafe-typecast) -- within uint96, as the first line says
        stakes[requestId] = Stake(beneficiary, uint96(msg.value));
    }

    /// @notice Pays the caller what is credited to them.
    function withdraw() external {
        uint256 amount = credits[msg.sender];
        if (amount == 0) revert NothingToWithdraw();
        credits[msg.sender] = 0;
        (bool sent,) = msg.sender.call{value: amount}("");
        if (!sent) revert WithdrawalFailed();
    }

    /// @dev Class 1 must be above every other: a tie is not class 1.
    function _onSettled(uint256 requestId, address requester, int64[] memory answer) internal override {
        bool classOne = true;
        for (uint256 i = 0; i < answer.length; ++i) {
            if (i != 1 && answer[i] >= answer[1]) classOne = false;
        }
        _credit(requestId, classOne ? stakes[requestId].beneficiary : requester);
    }

    function _onExpired(uint256 requestId, address requester) internal override {
        _credit(requestId, requester);
    }

    function _credit(uint256 requestId, address to) private {
        uint256 amount = stakes[requestId].amount;
        if (amount == 0) return;
        delete stakes[requestId];
        credits[to] += amount;
        emit Credited(requestId, to, amount);
    }
}
