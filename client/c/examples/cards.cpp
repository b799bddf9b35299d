// Deals two hands of five cards and throws three dice.
//
//     g++ -std=c++17 -O2 -I client/c client/c/examples/cards.cpp -o cards
#include "hwentropy.hpp"

#include <algorithm>
#include <iostream>
#include <random>
#include <string>
#include <vector>

int main()
try {
    std::vector<std::string> deck;
    for (const char *suit : {"♠", "♥", "♦", "♣"})
        for (const char *rank : {"A", "2", "3", "4", "5", "6", "7", "8", "9", "10", "J", "Q", "K"})
            deck.push_back(std::string(rank) + suit);

    hwentropy::random_device device;
    std::shuffle(deck.begin(), deck.end(), device);
    for (std::size_t hand = 0; hand < 2; hand++) {
        for (std::size_t card = 0; card < 5; card++)
            std::cout << deck[5 * hand + card] << ' ';
        std::cout << '\n';
    }

    std::uniform_int_distribution<> die(1, 6);
    std::cout << die(device) << ' ' << die(device) << ' ' << die(device) << '\n';
} catch (const hwentropy::error &error) {
    std::cerr << "cards: " << error.what() << '\n';
    return 1;
}
