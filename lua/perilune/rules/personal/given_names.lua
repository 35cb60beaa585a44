--- Given names of many countries, for the personal-data rule.
--
-- `sure` are names that, written with a capital, are hardly ever anything else in running text.
-- `unsure` are names that are also words, months, places, brands or things named after people; the
-- rule asks for evidence beside them (see personal/person.lua). Letters outside ASCII are written
-- as in the language; the rule also knows a name without its accents when the list has it so.
--
-- The lists are the commonest names of each region as we know them, not a census: a rare name is
-- found by what stands around it (introductions, honorifics, a known family name) or not at all.

local given = {}

local set = require("perilune.rules.personal.word_set")

given.sure = set([[
Aaron Abbie Abby Abdel Abdul Abdullah Abdulrahman Abel Abigail Abraham Achim Adalbert Adam Adela
Adele Adeline Adnan Adrian Adriana Adrien Agata Agatha Agnes Agneta Agnieszka Ahmad Ahmed Ahmet
Aidan Aiden Aiko Aileen Aisha Aishwarya Ajay Akash Akiko Akira Alan Alana Alasdair Alastair Albert
Alberto Alejandra Alejandro Aleksander Aleksandr Aleksandra Aleksei Alessandra Alessandro Alessia
Alex Alexander Alexandra Alexandre Alexandru Alexei Alexey Alexis Alfie Alfonso Alfred Alfredo Ali
Alice Alicia Alina Alison Alistair Allison Alma Alvaro Alvin Alyssa Amadou Amanda Amandine Ambrose
Amelia Amelie Amina Aminata Amir Amit Amy Ana Anastasia Anaïs Anders Andrea Andreas Andreea Andrei
Andrej Andres Andrew Andrey Andrzej André Andrés Anette Angela Angelika Angelina Angie Angus Anika
Anil Anita Anja Anjali Anke Ann Anna Annabel Anne Annelies Annemarie Annette Annie Annika Ansel
Anselm Anthony Antje Antoine Antoinette Anton Antonia Antonio Antónia António Anya Arash Archie
Ariana Arianna Arjun Arlene Armand Armando Armin Arnaud Arne Arnold Arthur Artur Arturo Arvid Asha
Ashok Asif Aslan Astrid Audrey Augustin Aurelia Aurélie Ava Axel Ayaan Ayesha Ayse Ayşe Aziz
Barnaby Bartek Bartholomew Bartosz Bastian Beata Beatrice Beatrix Beatriz Becky Belinda Ben
Benedict Benedikt Benjamin Benny Benoît Bernadette Bernard Bernardo Bernd Bernhard Bertha Bertie
Bertram Beth Bethany Betsy Bettina Betty Beverly Bianca Birgit Björn Bogdan Bojan Boris Bożena
Brad Bradley Branko Brenda Brendan Brent Brian Bridget Brigitte Britta Bruce Bruno Bryan Burak
Burcu Caitlin Caleb Callum Calvin Cameron Camila Camilla Camille Candice Carina Carl Carla Carlo
Carlos Carmen Carol Carole Caroline Carolyn Carsten Casey Caspar Cassandra Catalina Catarina
Caterina Catherine Cathy Cecil Cecilia Cedric Celeste Celia Celine Cem Cesar Chandra Chantal
Charlene Charles Charlie Cheryl Chiara Chidi Chinedu Chinwe Chioma Chloe Chloé Chris Christa
Christelle Christiane Christina Christine Christof Christoph Christophe Christopher Chukwuemeka
Cindy Ciro Claire Clara Clarence Clarissa Claude Claudia Claudio Clemens Clifford Clive Clyde
Clément Colette Colin Colleen Connor Conor Conrad Constanze Cora Corinna Corinne Cornelia
Cornelius Cosima Craig Cristian Cristiana Cristina Curtis Cuthbert Cynthia Cyril Dagmar Damian
Damien Damir Daniel Daniela Daniele Danielle Daniil Danilo Danny Danuta Daphne Darius Dariusz
Darlene Darren Darya Dave David Davide Davina Dawid Debbie Deborah Debra Declan Deepak Deirdre
Delphine Denis Denise Dennis Derek Derrick Desmond Devi Devika Diana Diane Didier Diego Dieter
Dietmar Dilip Dimitri Dimitrios Dinesh Dirk Divya Dmitri Dmitry Dolores Dominic Dominik Dominika
Dominique Donald Donna Dora Doreen Doris Dorota Dorothea Dorothy Doug Douglas Dragan Duncan Dustin
Dwayne Dylan Eamon Ebony Eckhard Eddie Edgar Edith Edmund Eduard Eduardo Edward Edwin Efua Egon
Eileen Ekaterina Elaine Eleanor Elena Eleni Elias Elif Elijah Elin Elisa Elisabeth Elise Eliza
Elizabeth Elke Ella Ellen Ellery Ellie Elliot Elliott Eloise Elsa Elsie Elvira Ememe Emil Emilia
Emilie Emilio Emily Emine Emma Emmanuel Emmanuelle Emre Enrico Enrique Enzo Eric Erica Erich Erik
Erika Erin Ernest Ernesto Ernst Erwin Esmeralda Esra Esteban Estelle Esther Ethan Ethel Eugen
Eugenia Eugenio Eunice Eustace Eva Evan Eve Evelyn Evgeny Ewa Ewan Fabian Fabienne Fabio Fabrice
Fabrizio Fadi Farah Farid Fatima Fatma Fatou Federica Federico Felicia Felicity Felipe Felix Femke
Fergus Fernanda Fernando Filip Filippo Fiona Flavia Flavio Florian Floriane Folake Frances
Francesca Francesco Francine Francisca Franck Franka Frankie Franz Franziska François Françoise
Freddie Frederic Frederick Frederik Freya Frida Friederike Friedrich Fritz Frédéric Gabriel
Gabriela Gabriele Gabriella Gareth Gary Gaurav Gavin Geeta Genevieve Geoff Geoffrey Georg George
Georges Georgina Gerald Geraldine Gerard Gerardo Gerd Gerhard Gerrit Gertrude Giacomo Gianluca
Gianni Gideon Gilbert Giorgio Giovanna Giovanni Gisela Giselle Giulia Giuliano Giulio Giuseppe
Gladys Glenn Gloria Goran Gordon Graham Greg Gregor Gregory Greta Gretchen Grzegorz Guido
Guillaume Guillermo Gunnar Gunther Gustav Gustavo Gwen Gwendolyn Günter Günther Habib Hadiza Hakan
Halima Hamish Hamza Hanna Hannah Hannelore Hannes Hans Hans-Peter Harald Hari Harold Harriet Harry
Haruka Haruki Harvey Hasan Hassan Heidi Heike Heiko Heiner Heinrich Heinz Helen Helena Helene
Helga Helmut Hendrik Henk Henri Henrietta Henrik Henrique Herbert Herman Hermann Hervé Hilary
Hilda Hilde Hildegard Hiroko Hiroshi Holger Horatio Horst Howard Hubert Hugh Hugo Humphrey Hussein
Hyun Ian Ibrahim Ida Ifeoma Ignatius Igor Ikram Ilona Ilse Imani Imogen Imran Ines Inga Inge
Ingeborg Ingo Ingrid Inés Ioana Ioannis Irena Irene Irina Irma Isaac Isabel Isabella Isabelle
Isaiah Isha Ishaan Isidore Ismail Istvan István Ivan Ivana Ivo Iwona Jacek Jackie Jacob Jacqueline
Jacques Jaime Jakob Jakub Jamal James Jamie Jan Jana Jane Janek Janet Janice Janina Janine Janusz
Jared Jarek Jasmina Jason Javier Jean Jean-Luc Jean-Pierre Jeanette Jeanne Jeff Jeffrey Jelena
Jemima Jennifer Jenny Jens Jeremiah Jeremy Jerome Jerry Jessica Jessie Jethro Jill Jim Jimmy Jin
Jing Jitka Joachim Joan Joana Joanna Joanne Joaquín Jochen Jodie Joe Joel Joelle Joey Johan Johann
Johanna Johannes John Johnny Jolanda Jon Jonas Jonathan Joonas Jorge Joris Josef Josefa Josefina
Joseph Josephine Josh Joshua Josie Jovana Joyce João Juan Juanita Judith Judy Juha Jukka Julian
Juliane Julie Julien Juliet Juliette Julio Julius Justin Justine Justyna Jutta Jérôme Jörg Jürgen
Kamal Kamil Kamila Karen Karim Karima Karin Karina Karl Karla Karolina Karsten Kasia Kaspar
Katarina Katarzyna Kate Katerina Katharina Katharine Katherine Kathleen Kathrin Kathryn Kathy
Katie Katja Katrin Katrina Katya Kavita Kay Kayla Kazuo Keiko Keisha Keith Kelechi Kemal Ken Kenji
Kenneth Kerstin Kevin Khadija Khalid Kieran Kimberly Kirill Kirsten Kirsty Kjell Klara Klaus Knut
Kofi Konrad Konstantin Konstantinos Kris Kristen Kristian Kristina Kristof Krystyna Krzysztof
Kunal Kurt Kwabena Kwame Kwesi Kyle Kyoko Lachlan Lakshmi Lamar Lana Lara Larissa Larry Lars
Laszlo Latisha Laura Lauren Laurence Laurent Laurie Lavinia Lawrence Layla Lea Leah Leandro Leanne
Leila Lena Lennart Leo Leon Leonard Leonardo Leonidas Leonie Leonor Leopold Leopoldo Leroy Leslie
Leszek Letitia Lewis León Liam Libor Lidia Liesbeth Lieselotte Lily-Rose Lina Linda Lindsay
Lindsey Lionel Lisa Lisbeth Liv Livia Liz Ljubica Logan Lois Lola Lorena Lorenzo Loretta Lothar
Lotte Lou Louis Louisa Louise Luca Lucas Lucia Luciana Luciano Lucie Lucille Lucy Lucía Ludmila
Ludwig Luigi Luis Luisa Luiz Lukas Lukasz Luke Luís Lydia Lynn Lysander László Mabel Maciej
Madeleine Mads Magda Magdalena Magnus Mahmoud Maik Maja Malachi Malcolm Malik Malte Mandy Manfred
Manoj Manuel Manuela Mara Marc Marcel Marcela Marcello Marcelo Marcia Marcin Marco Marcos Marcus
Marek Margaret Margarete Margarita Margit Margot Marguerite Maria Maria-Luisa Mariam Marian
Mariana Marianne Maribel Marie Marie-Claire Mariella Marija Marijke Marilyn Marina Mario Marion
Marisa Marisol Marit Marius Mariusz Marjorie Markus Marlene Marlon Marmaduke Marta Martha Marthe
Martina Martine Martyna Mary Mary-Jane Maryam María Masako Massimo Matej Mateja Mateo Mateusz
Mathieu Mathilde Mathis Matilda Matteo Matthew Matthias Matthieu Matti Maureen Maurice Mauricio
Mauro Mavis Maxim Maxime Maximilian Maya Mbali Mehmet Mei Melanie Melinda Melissa Meredith Mia
Michael Michaela Michal Michał Michel Michele Michelle Miguel Mihai Mikael Mike Mikhail Mikko
Mildred Milena Milica Millicent Millie Milo Miloš Mina Minh Mira Miranda Miriam Mirjam Mirko
Miroslav Mohamed Mohammad Mohammed Moira Mona Monica Monika Monique Moritz Mortimer Mouna Muhammad
Murat Muriel Murray Mustafa Myra Myriam Mélanie Nadeem Nadia Nadine Nadja Nadège Nanette Naomi
Narendra Nasrin Natalia Natalie Natalya Natasha Nathalie Nathan Nathaniel Neha Neil Nele Nelson
Neville Nia Niall Niamh Nicholas Nicola Nicolai Nicolas Nicole Nicoleta Niels Nigel Nikhil Nikita
Niklas Nikola Nikolai Nikolaos Nils Nina Ning Nisha Nkechi Noah Noemi Nomvula Noor Nora Norbert
Noriko Norma Nuno Nuria Obinna Octavia Octavio Odette Olaf Ole Oleg Oleksandr Olena Olga Oliver
Olivia Olivier Olu Oluwaseun Omar Oona Ophelia Orhan Orlaith Orson Oscar Oskar Osman Osvaldo Otis
Ottilie Otto Owen Oya Pablo Padma Paloma Pamela Paola Paolo Patrice Patricia Patricio Patrick
Patrik Patrycja Paul Paula Paulina Pauline Paulo Pavel Paweł Pedro Peggy Penelope Percy Pernille
Perpetua Petar Pete Peter Petr Petra Petunia Phil Philip Philipp Philippa Philippe Phillip Phoebe
Phyllis Pierre Pieter Pietro Pilar Piotr Polly Pooja Prakash Prashant Priscilla Priya Priyanka
Przemysław Quentin Quincy Rachel Radek Rafael Rafał Raffaele Rafferty Raghu Rahul Raimund Rainer
Raj Rajesh Rajiv Ralf Ralph Ramesh Ramon Ramona Ramón Rania Raphael Raquel Rashid Ravi Raymond
Raúl Rebecca Reginald Reinhard Reinhold Rekha Renata Renate Renato René Reuben Rhonda Ricardo
Riccardo Richard Rick Ricky Rita Ritu Robert Roberta Roberto Rocío Roderick Rodrigo Roger Rohan
Roland Rolf Romain Romana Ronald Ronnie Rosa Rosalie Rosalind Rosanna Rosario Rosemary Rosie
Roswitha Rowena Roxana Roxanne Roy Rudi Rudolf Rufus Rukhsana Rupert Ruslan Russell Ruth Ryan Rémi
Sabina Sabine Sabrina Sachin Sadie Saeed Salim Sally Salma Salvatore Sam Samantha Sameer Samir
Samira Samuel Sandeep Sandra Sandrine Sanjay Sanne Saoirse Sara Sarah Sascha Saskia Satoshi Saul
Scarlett Scott Seamus Sean Sebastian Sebastián Selim Selina Selma Serena Serge Sergei Sergey
Sergio Sevda Severin Seán Shahid Shanice Shannon Sharon Shaun Shauna Shawn Sheila Sheldon Shelly
Sherry Shirin Shirley Shreya Shu Sibylle Siegfried Sigmund Sigrid Silke Silvia Silvio Simon Simona
Simone Sinead Siobhan Sneha Sofia Sofie Sofía Sonia Sonja Sophia Sophie Stacey Stacy Stan
Stanislav Stanisław Stefan Stefania Stefanie Stefano Steffen Stella Stephan Stephane Stephanie
Stephen Steve Steven Stewart Stig Stuart Stéphane Sumit Sunil Sunita Suresh Susan Susana Susanna
Susanne Susie Suzanne Sven Svenja Svetlana Swati Sylvain Sylvia Sylvie Sylwia Sébastien Søren
Tabitha Takashi Takeshi Talia Tamara Tamika Tamás Tania Tanja Tanya Tara Tarik Tariq Tatiana
Tatjana Tatyana Ted Terence Teresa Terrence Tess Tessa Thabo Thaddeus Thandiwe Thanh Thea Thelma
Theo Theodor Theodora Theodore Theresa Therese Thiago Thierry Thijs Thomas Thorsten Thérèse Tiago
Tibor Tiffany Tilman Tim Timo Timothy Tina Tobias Todd Tom Tomas Tomasz Tommaso Tommy Tomás Tomáš
Tony Torsten Tove Tracey Tracy Trevor Tristan Troels Trudy Tuan Tyrone Ugo Ulf Uli Ulla Ulrich
Ulrike Ulysses Umar Umberto Ursula Usha Uta Ute Uwe Vadim Valentina Valeria Valerie Valérie
Vanessa Vasilis Vasyl Vernon Veronica Veronika Vicente Vicki Vicky Victor Vijay Vikram Viktor
Viktoria Vincent Vincenzo Vinod Violetta Vitaly Vivek Vivian Vivienne Vlad Vladimir Volker
Volodymyr Véronique Wahid Wallace Walter Waltraud Wanda Wayne Wei Wendy Werner Wesley Wiebke
Wilbur Wilfred Wilhelm Wilhelmina Willem William Willie Wilma Winifred Winnie Winston Wioletta
Wojciech Wolfgang Xavier Ximena Xiomara Yael Yan Yannick Yasin Yasmin Yasmina Yasmine Yevgeny Ying
Yolanda Youssef Yuki Yuri Yusuf Yves Yvette Yvonne Zachariah Zachary Zahra Zainab Zbigniew Zdenek
Zeynep Zlatan Zoe Zofia Zoltan Zoltán Zoé Zoë Zuzana Zuzanna Álvaro Ángel Åke Åsa Élise Élodie
Émile Éric Étienne Óscar Ömer Özgür Øyvind Łukasz
]])

given.unsure = set([[
Ada Adelaide Africa Alba Alexa Amber Ampere An Angel Ani April Ariel Art Ash Ashanti Ashley Ashton
Asia Athena August Aurora Austin Autumn Avery Bailey Baker Barbara Barney Basil Bay Bea Bella
Berkeley Bill Bin Blair Blake Blanche Bo Bob Bradford Brandon Brandy Bridge Bristol Brook Brooke
Brooklyn Buck Bud Buddy Camden Carlisle Carolina Carson Carter Cass Celsius Chad Chance Chandler
Charity Charlotte Chase Chelsea Chen Cherry Chester Cheyenne Chi China Chip Christian Chuck Claus
Clay Clement Cliff Clifton Clover Cody Colby Cole Colt Constance Constant Cooper Coral Corey
Crystal Cuba Daisy Dakota Dale Dallas Dana Dante Darcy Darwin Dawn Day Dayton Dean Dee Denver
Destiny Devin Dexter Diamond Dick Dina Dolly Dominica Don Dot Drake Drew Duc Duke Dusty Earl
Easton Echo Ed Eden Elle Elton Elvis Ember Ernestine Essence Faith Fan Fay Fern Finn Flora
Florence Ford Forest Forrest Fox Fran Francis Francisco Frank Franklin Fred Gale Garrett Gemini
Gene Genesis Georgia Ginger Glen Glory Grace Grant Griffin Grover Gus Guy Gypsy Hal Hamilton Hana
Hank Happy Harley Harmony Harper Hazel Heath Heather Heaven Henry Herb Hertz Holly Homer Honey
Hong Honor Hope Houston Hudson Hunter Ike Iman India Indiana Ira Iris Irving Isis Israel Ivory Ivy
Jack Jackson Jade Jarvis Jasmine Jasper Jay Jenkins Jersey Jesse Jesus Jewel Jo Job Jordan Jose
Josue José Joule Joy Jude Jules Julia Jun June Junior Juno Justice Karma Kelly Kelsey Kelvin
Kendall Kent Kerry Kim King Kingston Kit Krishna Lake Lance Lane Laurel Le Lee Leia Lennon Les
Lester Li Liberty Lilac Lily Lima Lincoln Ling Lloyd London Long Lorraine Lotus Lourdes Love Loyal
Lucky Luna Lux Ma Maddox Madison Mae Maggie Magnolia Major Mandarin Margo Mark Marley Marlin
Marshall Martin Marvin Mason Matt Maverick Max May Mel Melba Melody Mercedes Mercy Merlin Merry
Messiah Mick Milan Miles Milton Ming Mitch Mo Mohawk Molly Monroe Montana Morgan Moses Myrtle Nan
Nancy Nash Ned Nevada Newton Nick Nike Noel Nolan Norman Nova Oak Ocean Odessa Ohm Olive Opal
Oprah Orlando Ottawa Page Paige Paris Parker Pascal Pat Patty Paxton Peaches Pearl Penny Perry
Peyton Phoenix Pierce Pip Piper Poppy Porter Praise Presley Preston Prince Princess Prudence Quinn
Rain Rama Ramsey Randy Raven Ray Red Reed Reese Reg Regina Reina Rex Rhea Rhett Rhodes Rich Riley
Rio River Rob Robin Rock Rocky Rod Roma Roman Ron Rory Rose Ross Rowan Ruby Rusty Sage Sahara
Sakura Sal Salem Salvador Sandy Santa Santiago Sasha Savannah Sawyer Scarlet Scout Sebastopol
Selena Shade Shelby Sid Sidney Siena Sierra Siri Skip Sky Skye Skylar Sol Sonny Spencer Spring
Stanley Star Stefani Sterling Stone Storm Stu Sue Sugar Summer Sunday Sunny Sydney Tad Tai Tanner
Tate Tatum Taylor Temple Terra Terry Tesla Tex Thor Tiger Till Timber Toby Travis Trenton Trinity
Troy Tucker Ty Tyler Ulises Val Valencia Valentin Valentine Van Vaughn Venus Vera Verity Vesta Vic
Victoria Vida Vienna Viola Violet Virgil Virginia Viv Wade Walker Ward Warren Washington Watt
Wendell Wes West Will Willow Wolf Woody Xander Xin Yu Zane Zelda Zion
]])

return given
